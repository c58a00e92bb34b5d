"""A Redis that is nearly full: nothing new is claimed, and what is in hand is settled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks import publish
from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.claim import Taker
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tasks.store.message import Message
from tests.store.hand import LEASE_S, SERVINGS, accept, claim
from tests.support.valkey import Valkey


@pytest.fixture
def due(valkey: Valkey) -> Iterator[Due]:
    yield Due(valkey.client, lease_s=LEASE_S, ttl_s=60, look_s=0)
    valkey.client.config_set("maxmemory", 0)


def fill(valkey: Valkey, share: float) -> None:
    """Let Redis be full to this share of some 20 MB."""
    valkey.client.setrange("filled", 20_000_000, "x")
    valkey.client.config_set("maxmemory", int(valkey.client.info("memory")["used_memory"] / share))


def take(store: Jobs, job_id: str) -> bool:
    epoch = int(str(store.redis.hget(keys.job(job_id), "epoch")))
    taker = Taker(worker="w", lease_s=LEASE_S, may_isolate=True, servings=SERVINGS)
    return store.take(job_id, epoch, taker).claim is not None


@pytest.mark.parametrize(("share", "is_held"), [(0.95, False), (0.98, True), (1.1, True)])
def test_nothing_is_claimed_while_redis_is_nearly_full(
    store: Jobs, due: Due, valkey: Valkey, share: float, is_held: bool
) -> None:
    job_id = accept(store)
    fill(valkey, share)
    due.sweep()
    assert take(store, job_id) is not is_held
    if is_held:
        waits = store.find(job_id, "o")
        assert waits is not None and waits.waiting_on is not None
        assert waits.waiting_on.reason == "storage_full"


def test_what_is_in_hand_is_settled_and_what_is_sent_arrives_although_redis_is_full(
    store: Jobs, due: Due, valkey: Valkey
) -> None:
    ids = [accept(store, sent=False) for _ in range(4)]
    done, back, crashed = (claim(store, job_id, "w") for job_id in ids[:3])
    fill(valkey, 1.2)
    assert store.settle(done, Status.COMPLETED, outcome="completed", fields={"result": '"' + "x" * 100_000 + '"'})
    assert store.cancel(ids[3], "o")
    found = store.put_back(back, outcome="released", reason="stopped") or []
    found += store.charge_crash(crashed, "died") or []
    publish.send(found, valkey.client)
    assert valkey.client.llen("api") == 2


def test_with_room_again_those_that_waited_for_it_go_on(store: Jobs, due: Due, valkey: Valkey) -> None:
    ids = [accept(store) for _ in range(3)]
    fill(valkey, 0.99)
    due.sweep()
    assert not any(take(store, job_id) for job_id in ids)
    assert due.let_go() == [], "not before it was looked at again"
    valkey.client.delete("filled")
    due.sweep()
    gone: list[Message] = []
    while len(gone) < len(ids):
        valkey.client.hset(keys.limit("storage"), mapping={"until": 1, "wake_at": 1})
        gone += due.let_go()
    assert sorted(message.job_id for message in gone) == sorted(ids)
    assert all(take(store, job_id) for job_id in ids)
