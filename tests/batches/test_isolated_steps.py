"""Steps of batches that run in a child process, and are ended when their time is up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import cast

import pytest

from tasks import process
from tasks.batches import steps as moving
from tasks.process import WorkerProcess
from tasks.providers.base import DEADLINE
from tasks.store import batch_work, batches, keys, steps
from tasks.store.batches import NewBatch
from tests.support import batch
from tests.support.polling import until
from tests.support.valkey import Valkey

BATCH = f"batch_{'1' * 32}"
STEP = steps.step_id(BATCH, "expand")
CHUNKS = 40


class House:
    """A worker, and a batch of so many chunks to read that somebody before it did not come through."""

    def __init__(self, valkey: Valkey) -> None:
        self.here: WorkerProcess = process.start("w@host", (), capacity=1)
        self.redis = valkey.client
        self.limit_s = 0.0
        store = batches.default()
        for chunk in range(CHUNKS):
            numbers = range(chunk * 100 + 1, chunk * 100 + 101)
            store.keep_lines(
                BATCH, chunk, [b'%d {"custom_id": "%d", "prompt": "x", "mode": "api"}' % (n, n) for n in numbers]
            )
        fields = {"owner": "o", "total": str(CHUNKS * 100), "lines": str(CHUNKS * 100), "chunks": str(CHUNKS),
                  "metadata": "{}", "options": json.dumps(batch.OPTIONS), "may_simulate": "1"}  # fmt: skip
        store.accept(NewBatch(id=BATCH, owner="o", idempotency_key=None, fingerprint="f", expires_in_s=600,
                              message="first", fields=fields))  # fmt: skip
        self.redis.hset(keys.job(STEP), "suspect", 1)

    def run_until(self, time_is_up: Callable[[], bool]) -> None:
        """Move the step on; its time is up as soon as that is so."""
        watcher = threading.Thread(target=self._end_when, args=(time_is_up,))
        watcher.start()
        moving.run(STEP, int(self.of_step("epoch")))
        watcher.join()

    def _end_when(self, time_is_up: Callable[[], bool]) -> None:
        [(_, call)] = until(self.here.in_flight.calls, within_s=30, what="the step in hand")
        self.limit_s = call.remaining_s()
        until(time_is_up, within_s=60, what="the end of its time")
        call.cut(DEADLINE)

    def of_step(self, field: str) -> str:
        return str(cast("str | None", self.redis.hget(keys.job(STEP), field)) or "0")

    def expanded(self) -> int:
        plan = batch_work.default().plan(BATCH)
        assert plan is not None
        return plan.expanded


@pytest.fixture
def house(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("TANDEM_SANDBOX_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(process, "_here", None)
    return House(valkey)


def test_one_that_does_not_get_on_is_charged_as_a_death_and_given_up_after_two(house: House) -> None:
    for charged in (1, 2):
        house.run_until(lambda: True)
        assert (house.of_step("crashes"), house.of_step("status")) == (str(charged), "pending")
    assert 0 < house.limit_s <= moving.ISOLATED_S
    moving.run(STEP, int(house.of_step("epoch")))
    [found] = batches.default().read([BATCH], "o")
    assert found.error is not None
    assert (found.status, found.error["code"]) == ("failed", "quarantined")


def test_one_that_gets_on_goes_on_where_its_time_was_up(house: House) -> None:
    house.run_until(lambda: house.expanded() > 0)
    come = house.expanded()
    assert 0 < come < CHUNKS, "it was not ended in the middle"
    assert (house.of_step("crashes"), house.of_step("status")) == ("0", "pending")
    house.run_until(lambda: house.expanded() > come)
    assert house.of_step("crashes") == "0"
