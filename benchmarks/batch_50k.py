"""`batch_50k`: a batch of 50,000 items of 2 kB: time per item against one of 2,000, and what memory it takes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.figure import Figure
from benchmarks.house import Service, forget, house
from tests.support import batch
from tests.support.polling import until

#: An item may take 1.2 times as long, and Redis 2.5 times the payload.
GOAL, MEMORY_GOAL = 1 / 1.2, 2.5
SMALL, LARGE, TEXT = 2_000, 50_000, "word " * 400
PATIENCE_S, LOOK_S = 900, 0.1


def measure(data: Path) -> Figure:
    """The figure."""
    with house(data, workers=1) as service:
        small, _ = _run(service, SMALL)
        forget(service)
        with _Watch(service) as watch:
            large, accepted_s = _run(service, LARGE)
        memory = int(service.valkey.client.info("memory")["used_memory_peak"]) / _payload(LARGE)
    return Figure(
        value=large * 1000,
        against=small * 1000,
        lower_is_better=True,
        goal=GOAL,
        n=LARGE,
        words=f"redis={memory:.2f} accepted_s={accepted_s:.2f}",
        notes=(
            f"ms per item; Redis at its peak took {memory:.2f} times the {_payload(LARGE) / 1e6:.0f} MB of payload "
            f"(at most {MEMORY_GOAL}: {'met' if memory <= MEMORY_GOAL else 'MISSED'})",
            f"answered {accepted_s:.2f} s after the upload began; peaks: {watch}",
        ),
    )


def _lines(count: int) -> Iterator[bytes]:
    for n in range(count):
        item = {"custom_id": str(n), "prompt": f"item {n}: {TEXT}", "model": "sandbox/tokens-8"}
        yield json.dumps(item).encode() + b"\n"


def _payload(count: int) -> int:
    return sum(map(len, _lines(count)))


def _run(service: Service, count: int) -> tuple[float, float]:
    """(seconds per item, seconds to the 202)."""
    body = b"".join(_lines(count))
    began = time.monotonic()
    answer = batch.upload(service, body)
    accepted_s = time.monotonic() - began
    assert answer.status_code == 202, answer.text
    key = f"tandem:batch:{answer.json()['id']}"
    redis = service.valkey.client
    until(lambda: redis.hget(key, "status") == "completed", within_s=PATIENCE_S, every_s=LOOK_S)
    assert redis.hget(key, "completed") == str(count)
    return (time.monotonic() - began) / count, accepted_s


class _Watch:
    """The largest resident memory of each kind of process."""

    def __init__(self, service: Service) -> None:
        self._roots = {"web": service.web.process.pid, "worker": service.workers[0].process.pid}
        self._peaks = dict.fromkeys(self._roots, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def __str__(self) -> str:
        return ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in self._peaks.items())

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            for name, root in self._roots.items():
                process = psutil.Process(root)
                held = [one.memory_info().rss for one in (process, *process.children(recursive=True))]
                self._peaks[name] = max(self._peaks[name], *held)
