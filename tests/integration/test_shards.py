"""What a shard leaves to others: its rest when its worker drains, and its slot when single jobs wait for it."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from tasks.store import keys, steps
from tests.support import batch
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls


def items(count: int, model: str) -> list[dict[str, Any]]:
    return [{"custom_id": str(n), "prompt": f"question {n}", "model": model} for n in range(count)]


def asked(service: Service) -> int:
    """How many calls the sandbox was sent."""
    return len({(call["job_id"], call["attempt"]) for call in calls(service.sandbox_log)})


def test_a_worker_that_drains_claims_no_more_items(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=4, env={"TANDEM_DRAIN_S": "20"}) as service:
        batch_id = batch.submit(service, items(60, "sandbox/slow-1000ms"))
        until(lambda: asked(service) >= 4, within_s=15)
        service.workers[0].retire()
        service.workers[0].kill(signal.SIGTERM)
        began, before = time.monotonic(), asked(service)
        until(lambda: service.workers[0].exits, within_s=30)
        took_s = time.monotonic() - began
        print(f"left after {took_s:.1f} s; {before} calls before, {asked(service) - before} after")
        assert service.workers[0].exits == [0]
        assert took_s < 5, "as long as its items need"
        assert asked(service) - before <= 4
        done = batch.get(service, batch_id)["counts"]["completed"]
        assert done == asked(service), "what was in hand was cut"
        shard = keys.job(steps.step_id(batch_id, "1-0"))
        assert service.valkey.client.hget(shard, "phase") == "queued", "not handed back at once"
        service.add_worker()
        until(lambda: asked(service) > done, within_s=30, what="another worker going on")
        batch.act(service, batch_id, "cancel")


def test_a_worker_of_one_call_lets_single_jobs_between_the_items_of_a_shard(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=1) as service:
        batch_id = batch.submit(service, items(60, "sandbox/slow-300ms"))
        until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= 2, within_s=15)
        began = time.monotonic()
        for n in range(3):
            answer = service.post(f"single {n}", model="sandbox/tokens-1", headers={"Prefer": "wait=10"})
            assert answer.json()["status"] == "completed"
        took_s = time.monotonic() - began
        print(f"three single jobs took {took_s:.1f} s")
        assert took_s < 6
        done = batch.get(service, batch_id)["counts"]["completed"]
        until(lambda: batch.get(service, batch_id)["counts"]["completed"] > done + 2, within_s=10)
        batch.act(service, batch_id, "cancel")


def test_single_jobs_that_fill_a_worker_of_one_call_do_not_starve_a_batch(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=1) as service:
        for n in range(60):
            service.submit(f"single {n}", model="sandbox/slow-200ms")
        batch_id = batch.submit(service, items(20, "sandbox/slow-200ms"))
        until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= 2, within_s=20)
        assert service.valkey.client.llen("api.sandbox") > 0, "the single jobs were over too soon"
        batch.act(service, batch_id, "cancel")
