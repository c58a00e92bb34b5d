"""A fence is a claim's number and its worker: after a replica took over, two workers may hold the same number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.domain.job import Status
from tasks.store import keys, places
from tasks.store.claim import Claim, Taker
from tasks.store.fleet import Fleet, Worker
from tasks.store.jobs import Jobs
from tasks.store.places import Place
from tests.store.hand import LEASE_S, SERVINGS, accept, claim
from tests.store.promotion import unheard_of
from tests.store.test_batches import BATCH, House
from tests.support.valkey import Valkey

TWO_PLACES = places.fields([Place("api", "upstream", "", "model"), Place("api.other", "other", "", "model")])


@pytest.fixture
def two(store: Jobs) -> tuple[Claim, Claim]:
    """The claims of two workers, with the same number. The second is the record's."""
    job_id = accept(store, more=TWO_PLACES)
    with unheard_of(store.redis):
        stale = claim(store, job_id, "w1")
    return stale, claim(store, job_id, "w2")


WRITES: dict[str, Callable[[Jobs, Claim], object]] = {
    "settle": lambda store, claim: store.settle(claim, Status.COMPLETED, outcome="completed"),
    "put back": lambda store, claim: store.put_back(claim, outcome="put_back", reason="test"),
    "move": lambda store, claim: places.move(store, claim, outcome="failed", reason="test"),
    "charge": lambda store, claim: store.charge_crash(claim, "test"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_who_holds_the_same_number_as_the_owner_writes_nothing(
    store: Jobs, two: tuple[Claim, Claim], write: Callable[[Jobs, Claim], object]
) -> None:
    stale, owner = two
    assert stale.fence == owner.fence
    before = store.redis.hgetall(keys.job(owner.job_id))
    assert not write(store, stale)
    assert store.redis.hgetall(keys.job(owner.job_id)) == before
    assert write(store, owner) not in (None, False)


def test_a_heartbeat_keeps_the_owners_lease_and_tells_the_other(store: Jobs, two: tuple[Claim, Claim]) -> None:
    stale, owner = two
    fleet = Fleet(store.redis, lease_s=600.0)
    due = store.redis.zscore(keys.DUE, owner.job_id)
    assert fleet.hello(Worker(name="w1", queues="api", state="ready"), [(stale.job_id, stale.fence)]) != []
    assert store.redis.zscore(keys.DUE, owner.job_id) == due
    assert fleet.hello(Worker(name="w2", queues="api", state="ready"), [(owner.job_id, owner.fence)]) == []
    assert (store.redis.zscore(keys.DUE, owner.job_id) or 0) > (due or 0)


def test_a_message_that_is_repeated_claims_once(store: Jobs) -> None:
    job_id = accept(store)
    assert claim(store, job_id, "w1").fence == 1
    for worker in ("w1", "w2"):
        again = store.take(job_id, 0, Taker(worker=worker, lease_s=LEASE_S, servings=SERVINGS))
        assert again.claim is None


def test_the_same_holds_for_a_step_of_a_batch(valkey: Valkey) -> None:
    house = House(valkey)
    house.accept(3)
    with unheard_of(house.redis):
        stale = house.claim("expand", "w1")
    owner = house.claim("expand", "w2")
    assert stale.fence == owner.fence
    assert not house.steps.done(stale)
    assert house.steps.again(stale) is None
    assert house.steps.crashed(stale, "test") is None
    assert house.work.rest(stale)
    assert house.redis.hget(keys.job(owner.job_id), "status") == "processing"
    assert house.redis.hget(keys.job(owner.job_id), "worker") == "w2"
    assert house.steps.done(owner)


def test_only_the_owner_lets_the_last_step_rest(valkey: Valkey) -> None:
    house = House(valkey)
    house.begun(3)
    with unheard_of(house.redis):
        stale = house.claim("finish", "w1")
    house.claim("finish", "w2")
    house.work.rest(stale)
    assert house.redis.hget(keys.job(f"step_{BATCH}_finish"), "status") == "processing"
