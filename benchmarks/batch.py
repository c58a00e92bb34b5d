"""`batch`: items per second, from the upload to the last answer, against a plain Celery chord and group."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

from celery.result import GroupResult

from benchmarks.figure import Figure, alternate, spelled
from benchmarks.house import Service, forget, house
from tests.support import batch
from tests.support.polling import until
from tests.support.service import Supervised

T = TypeVar("T")

GOAL = 3.0
ITEMS, SLOTS = 5000, 64
MODEL = "sandbox/echo"
PROMPTS = [f"item {n} " + "tandem " * 50 for n in range(ITEMS)]
PATIENCE_S, LOOK_S = 300, 0.05


def measure(data: Path) -> Figure:
    """The figure; `ratio` is against the chord."""
    with house(data, workers=1, concurrency=SLOTS) as service:
        plain = _plain_worker(service)
        try:
            ours, chords, groups = alternate(lambda: _ours(service), lambda: _chord(service), lambda: _group(service))
        finally:
            plain.end()
    value, against, beside = median(ours), median(chords), median(groups)
    return Figure(
        value=value,
        against=against,
        goal=GOAL,
        n=ITEMS,
        words=f"group={beside:.4g} ratio_group={value / beside:.3f}",
        notes=(
            f"items/s: batch {spelled(ours)}; chord {spelled(chords)}; group {spelled(groups)}",
            f"one worker each, {SLOTS} threads, the same sandbox that answers at once; against the group >= 1",
        ),
    )


def _plain_worker(service: Service) -> Supervised:
    return service.run(
        "plain", "-m", "celery", "-A", "benchmarks.plain_batch:celery", "worker", "-Q", "plain", "-P", "threads",
        "-c", str(SLOTS), "--without-mingle", "--without-gossip", "-n", "plain@%h", "-l", "WARNING",
    )  # fmt: skip


def _ours(service: Service) -> float:
    def run() -> None:
        items = ({"custom_id": str(n), "prompt": prompt, "model": MODEL} for n, prompt in enumerate(PROMPTS))
        batch_id = batch.submit(service, items)
        batch.completed(service, batch_id, within_s=PATIENCE_S, every_s=LOOK_S)

    rate, _ = _timed(service, run)
    return rate


def _chord(service: Service) -> float:
    from benchmarks import plain_batch

    def run() -> GroupResult:
        sent = plain_batch.send_chord(f"{service.sandbox_root}/v1", PROMPTS, MODEL)
        until(lambda: service.valkey.client.get(plain_batch.DONE), within_s=PATIENCE_S, every_s=LOOK_S)
        return sent

    return _plain(service, run)


def _group(service: Service) -> float:
    from benchmarks import plain_batch

    def run() -> GroupResult:
        before = service.valkey.client.dbsize()
        sent = plain_batch.send_group(f"{service.sandbox_root}/v1", PROMPTS, MODEL)
        until(
            lambda: service.valkey.client.dbsize() >= before + ITEMS,
            within_s=PATIENCE_S,
            every_s=LOOK_S,
        )
        return sent

    return _plain(service, run)


def _plain(service: Service, run: Callable[[], GroupResult]) -> float:
    from benchmarks.plain_batch import celery

    os.environ["REDIS_URL"] = service.valkey.url
    celery.conf.update(broker_url=service.valkey.url, result_backend=service.valkey.url)
    rate, sent = _timed(service, run)
    sent.forget()
    return rate


def _timed(service: Service, run: Callable[[], T]) -> tuple[float, T]:
    """(items per second, what `run` returned)."""
    forget(service)
    began = time.monotonic()
    result = run()
    return ITEMS / (time.monotonic() - began), result
