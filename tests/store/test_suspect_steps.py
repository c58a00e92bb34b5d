"""Steps whose process died: charged alone, and a batch that cannot be read is ended."""

from __future__ import annotations

import time

import pytest

from tasks.domain.batch import BatchStatus
from tasks.domain.errors import InvalidRequest
from tasks.domain.job import Status
from tasks.store import keys, steps
from tests.store.test_batches import BATCH, OWNER, House
from tests.support.valkey import Valkey


@pytest.fixture
def house(valkey: Valkey) -> House:
    return House(valkey)


def test_a_step_is_charged_with_each_death_and_lined_up_again(house: House) -> None:
    house.accept(3)
    for crashes in range(4):
        step = house.claim("expand")
        assert (step.suspect, step.crashes) == (crashes > 0, crashes)
        [message] = house.steps.crashed(step, "it ended with -9") or []
        assert (message.job_id, message.epoch) == (step.job_id, step.fence + 1)
        assert house.steps.crashed(step, "it ended with -9") is None, "not its owner any more"


def test_a_step_of_a_silent_worker_is_a_suspect_the_first_time_though_its_host_went_down(house: House) -> None:
    house.accept(3)
    step = house.claim("expand")
    silent_at = (time.time() - 300) * 1000
    house.redis.zadd(keys.WORKERS, {step.worker: silent_at, f"another{step.worker}": silent_at})
    house.redis.zadd(keys.DUE, {step.job_id: 1})
    house.redis.hset("tandem:sweep", mapping={"swept_at": int(time.time() * 1000), "grace_until": 0})
    assert len(house.due.sweep()[1]) == 1
    assert house.claim("expand").suspect


def test_a_batch_that_is_given_up_has_one_outcome_for_each_item(house: House) -> None:
    house.accept(5)
    house.expand(1, 2)
    ids = [f"job_{BATCH.removeprefix('batch_')}-{n}" for n in (1, 2)]
    assert house.work.end_items(ids, status=Status.CANCELLED.value, why="") == 2
    assert house.work.give_up(BATCH, code="quarantined", why="it died")
    assert not house.work.give_up(BATCH, code="quarantined", why="again")
    found = house.batches.find(BATCH, OWNER)
    assert found is not None
    assert (found.status, found.error) == (BatchStatus.FAILED, {"code": "quarantined", "message": "it died"})
    assert house.counts() == {"cancelled": 5}
    assert house.redis.keys(f"{keys.batch(BATCH)}:chunk:*") == []
    assert house.work.conclude(BATCH, has_last=False)[0] == "lapses"
    with pytest.raises(InvalidRequest):
        house.batches.retry(BATCH)


def test_a_further_round_that_is_given_up_keeps_the_answers_and_may_be_tried_again(house: House) -> None:
    first, second, third = house.begun(3)
    house.settle(first)
    house.settle(second, Status.FAILED)
    assert house.work.end_items([third], status=Status.CANCELLED.value, why="") == 1
    house.work.conclude(BATCH, has_last=False)
    house.batches.retry(BATCH)
    assert house.redis.hget(keys.job(steps.step_id(BATCH, "retry-2")), "phase") == "queued"
    house.work.reset_items(BATCH, 0, [second], [])
    house.work.end_items([second], status=Status.CANCELLED.value, why="")
    assert house.work.give_up(BATCH, code="quarantined", why="it died")
    assert house.counts() == {"completed": 1, "cancelled": 2}
    assert house.batches.retry(BATCH) != []
