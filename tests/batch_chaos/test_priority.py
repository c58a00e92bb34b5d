"""Single jobs beside a batch: they hardly notice it, and cannot starve it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import batch
from tests.support.polling import until
from tests.support.service import Service

pytestmark = [pytest.mark.batch_chaos, pytest.mark.timeout(240)]

UPSTREAM_MS = 200
MODEL = f"sandbox/slow-{UPSTREAM_MS}ms"
WAIT = {"Prefer": "wait=30"}
#: Calls at a time of the one worker.
SLOTS = 32


def items(count: int) -> Iterator[dict[str, Any]]:
    return ({"custom_id": str(n), "prompt": f"question {n}", "model": MODEL} for n in range(count))


def p95_s(service: Service, count: int) -> float:
    """Of single jobs, one after the other, from POST to answer."""
    took = []
    for n in range(count):
        began = time.monotonic()
        assert service.post(f"single {n}", model=MODEL, headers=WAIT).json()["status"] == "completed"
        took.append(time.monotonic() - began)
    return sorted(took)[int(count * 0.95) - 1]


def test_a_single_job_hardly_notices_a_batch(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=SLOTS) as service:
        idle = p95_s(service, 40)
        batch_id = batch.submit(service, items(10_000))
        until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= SLOTS, within_s=60)
        beside = p95_s(service, 60)
        assert batch.get(service, batch_id)["status"] == "in_progress", "the batch was over too soon"
        batch.act(service, batch_id, "cancel")
        print(f"p95 idle {idle:.3f} s, beside a batch {beside:.3f} s")
        assert beside <= 2 * idle + UPSTREAM_MS / 1000


def test_single_jobs_that_could_fill_the_worker_leave_a_batch_its_floor(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=SLOTS) as service:
        over = threading.Event()

        def load() -> int:
            done = 0
            while not over.is_set():
                done += service.post("single", model=MODEL, headers=WAIT, timeout=60).status_code == 200
            return done

        with ThreadPoolExecutor(2 * SLOTS) as crowd:
            loads = [crowd.submit(load) for _ in range(2 * SLOTS)]
            until(
                lambda: int(service.valkey.client.llen("api.sandbox")) >= SLOTS // 2, within_s=30, what="a full worker"
            )
            batch_id = batch.submit(service, items(2_000))
            until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= 60, within_s=60, every_s=0.2)
            began, before = time.monotonic(), batch.get(service, batch_id)["counts"]["completed"]
            time.sleep(8)  # a while to measure over
            rate = (batch.get(service, batch_id)["counts"]["completed"] - before) / (time.monotonic() - began)
            over.set()
        singles = sum(one.result() for one in loads)
        print(f"batch {rate:.1f} items/s beside {singles} single jobs")
        # A tenth of the places, each good for five calls a second; half of that, as the machine is full.
        assert rate >= 0.5 * (SLOTS * 0.1) / (UPSTREAM_MS / 1000)
        assert singles > 0
