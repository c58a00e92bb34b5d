"""Batches while workers and Valkey are killed: every item has one outcome, each batch closes once."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.batch import item_id, last_id
from tests.support import batch, mixture
from tests.support.nemesis import Nemesis, kill_a_worker
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import judge

pytestmark = [pytest.mark.batch_chaos, pytest.mark.timeout(400)]

LAST = {"prompt": "{{completed}} of {{total}}", "model": "sandbox/echo"}
MIXED = 5000


def submit(service: Service, items: Any) -> str:
    answer = batch.upload(service, batch.ndjson(items), on_invalid="skip", max_attempts=5, on_complete=LAST)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def check(service: Service, batch_id: str, count: int, expected: dict[str, int]) -> list[str]:
    """Its counts are exact, every valid item has ended, and one job saw all results. Returns the ids of its items."""
    found = batch.get(service, batch_id)
    assert (found["status"], found["counts"]) == ("completed", expected)
    valid = count - expected["invalid"]
    settled = service.valkey.client.zrange(f"tandem:batch:{batch_id}:settled", 0, -1)
    assert len(settled) == valid
    assert found["on_complete"]["job_id"] == last_id(batch_id, 1)
    assert found["on_complete"]["status"] == "completed"
    assert f"{expected['completed']} of {valid}" in found["on_complete"]["result"]["content"]
    answered = batch.read(service, batch_id, "results")
    assert len({line["custom_id"] for line in answered}) == len(answered) == expected["completed"]
    assert len(batch.read(service, batch_id, "errors")) == expected["failed"] + expected["invalid"]
    return [item_id(batch_id, int(str(line))) for line in settled]


def check_items(service: Service, ids: list[str], expected: dict[str, int], batches: int = 1) -> None:
    """Each item ended once, and as it should."""
    verdict = judge(service, ids)
    print(verdict)
    assert verdict.is_clean()
    assert verdict.by_status == {name: n * batches for name, n in expected.items() if n and name != "invalid"}


def kill_workers(service: Service) -> None:
    for worker in service.workers:
        if worker.process.poll() is None:
            worker.kill()


def test_a_mixed_batch_is_counted_exactly(tmp_path: Path) -> None:
    with Service(tmp_path, env=mixture.NO_CIRCUIT) as service:
        batch_id = submit(service, mixture.items(MIXED))
        batch.ended(service, batch_id, within_s=180)
        check_items(service, check(service, batch_id, MIXED, mixture.expected(MIXED)), mixture.expected(MIXED))


def test_a_mixed_batch_is_counted_exactly_under_faults(tmp_path: Path) -> None:
    with Service(tmp_path, env=mixture.NO_CIRCUIT) as service:
        redis = service.valkey.client
        batch_id = submit(service, mixture.items(MIXED))
        key = f"tandem:batch:{batch_id}"

        def settled() -> int:
            return int(redis.hget(key, "settled") or 0)

        # In the middle of publishing the chord: that begins when the batch is in progress.
        until(lambda: redis.hget(key, "status") == "in_progress", within_s=60, every_s=0.001)
        kill_workers(service)
        until(lambda: settled() >= 500, within_s=60)
        service.workers[0].kill()
        until(lambda: settled() >= 1200, within_s=60)
        service.valkey.kill()
        service.valkey.start()
        until(lambda: settled() >= 2000, within_s=60)
        service.workers[1].kill()
        until(lambda: settled() >= 2800, within_s=60)
        service.valkey.signal(signal.SIGSTOP)
        time.sleep(10)  # the fault itself: the result backend, which is the same Redis, is away
        service.valkey.signal(signal.SIGCONT)
        until(lambda: settled() >= 3600, within_s=60)
        service.workers[0].kill()
        # Between the last shard and the body.
        until(lambda: settled() >= int(redis.hget(key, "valid") or 0), within_s=120, every_s=0.001)
        kill_workers(service)
        batch.ended(service, batch_id, within_s=60)
        check_items(service, check(service, batch_id, MIXED, mixture.expected(MIXED)), mixture.expected(MIXED))


@pytest.mark.timeout(800)
def test_a_hundred_batches_close_once_each_under_random_kills(tmp_path: Path) -> None:
    size, at_once = 300, 10
    with Service(tmp_path, workers=3, env=mixture.NO_CIRCUIT) as service:
        closed, items = 0, list[str]()
        with Nemesis(kill_a_worker(service), every_s=(3, 6)) as nemesis:
            # A quick machine closes a hundred between fewer kills than wanted: it closes some more.
            while closed < 100 or nemesis.strikes < 20:
                ids = [submit(service, mixture.items(size)) for _ in range(at_once)]
                for batch_id in ids:
                    batch.ended(service, batch_id, within_s=120)
                closed += len(ids)
                print(f"{closed} closed, {nemesis.strikes} kills")
                for batch_id in ids:
                    items += check(service, batch_id, size, mixture.expected(size))
        check_items(service, items, mixture.expected(size), closed)
        held = {str(key).split(":")[3] for key in service.valkey.client.keys("tandem:batch:*:*")}
        assert held <= {"settled", "invalid"}, "chunks, names or shards are left"
