"""Redis is away while shards end: what Celery notes of a chord's parts is lost, and no worker hangs of it."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest

from tests.support import batch
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import records

pytestmark = [pytest.mark.batch_chaos, pytest.mark.timeout(240)]

#: Calls at a time of the one worker.
SLOTS = 8
ITEMS, TIMES, AWAY_S = 4000, 3, 10.0


def test_a_worker_keeps_all_its_slots_when_redis_is_away_while_shards_end(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=SLOTS) as service:
        lines = ({"custom_id": str(n), "prompt": f"question {n}", "model": "sandbox/echo"} for n in range(ITEMS))
        batch_id = batch.submit(service, lines)

        def has_settled(wanted: int) -> bool:
            return int(service.valkey.client.hget(f"tandem:batch:{batch_id}", "settled") or 0) >= wanted

        for wanted in range(300, 300 * TIMES + 1, 300):
            until(partial(has_settled, wanted), within_s=60)
            service.valkey.kill()
            threading.Event().wait(AWAY_S)
            service.valkey.start()
        assert batch.ended(service, batch_id, within_s=120)["counts"]["completed"] == ITEMS
        service.tell_sandbox(latency_ms=3000)
        ids = [service.submit(f"single {n}", cache="off") for n in range(SLOTS)]
        until(
            lambda: [one["status"] for one in records(service.valkey.client, ids)] == ["processing"] * SLOTS,
            within_s=20,
            what=f"{SLOTS} calls at a time",
        )
