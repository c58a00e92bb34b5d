"""What keeps Redis from growing: each list has an end, and each entry a time after which it is gone."""

from __future__ import annotations

import json
import time

import pytest
from redis import Redis

from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.circuits import Breaker, Told
from tasks.store.due import Due
from tasks.store.fleet import KEEP_S, Fleet, Worker
from tasks.store.jobs import Jobs
from tasks.store.media import Media
from tests.store.hand import LEASE_S, accept, claim
from tests.support.polling import until
from tests.support.valkey import Valkey

#: As tests/store/conftest.py and hand.py set them.
TTL_S, IDEMPOTENCY_S = 60, 24 * 3600
ATTEMPTS_KEPT = 32


def lives_s(store: Jobs, key: str) -> int:
    """Seconds until Redis forgets the key; -1 when it never does."""
    return int(str(store.redis.ttl(key)))


def test_an_idempotency_key_lapses(store: Jobs) -> None:
    accept(store, key="k")
    assert 0 < lives_s(store, keys.idempotency("job", "o", "k")) <= IDEMPOTENCY_S


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
def test_a_record_lapses_after_its_job_has_ended(store: Jobs, status: Status) -> None:
    job_id = accept(store)
    held = claim(store, job_id, "w")
    assert lives_s(store, keys.job(job_id)) == -1, "an unfinished job never lapses"
    store.settle(held, status, outcome="completed")
    assert 0 < lives_s(store, keys.job(job_id)) <= TTL_S


def test_a_cancelled_record_lapses(store: Jobs) -> None:
    job_id = accept(store)
    store.cancel(job_id, "o")
    assert 0 < lives_s(store, keys.job(job_id)) <= TTL_S


def test_a_trail_keeps_its_last_attempts_only(store: Jobs) -> None:
    job_id = accept(store)
    for _ in range(ATTEMPTS_KEPT + 3):
        store.put_back(claim(store, job_id, "w"), outcome="released", reason="test")
    trail = json.loads(str(store.redis.hget(keys.job(job_id), "attempts")))
    assert [entry["n"] for entry in trail] == list(range(4, ATTEMPTS_KEPT + 4))


def test_an_owners_list_forgets_what_is_too_old(store: Jobs) -> None:
    """`list_age_s` is 60 in hand.py."""
    old = accept(store)
    store.redis.zadd(keys.owner_jobs("o"), {old: (time.time() - 61) * 1e6})
    new = accept(store)
    assert store.redis.zrange(keys.owner_jobs("o"), 0, -1) == [new]


def test_a_worker_that_fell_silent_leaves_the_list(store: Jobs) -> None:
    fleet = Fleet(store.redis, lease_s=LEASE_S)
    fleet.hello(Worker(name="gone", queues="api", state="ready"))
    store.redis.zadd(keys.WORKERS, {"gone": (time.time() - KEEP_S - 1) * 1000})
    assert 0 < int(str(store.redis.pttl(keys.worker("gone")))) <= KEEP_S * 1000
    fleet.hello(Worker(name="here", queues="api", state="ready"))
    assert store.redis.zrange(keys.WORKERS, 0, -1) == ["here"]


def test_what_an_owner_used_is_forgotten_in_the_end(store: Jobs) -> None:
    held = claim(store, accept(store), "w")
    store.settle(
        held, Status.COMPLETED, outcome="completed", fields={"usage": "{}"}, attempt={"usage": {"prompt_tokens": 1}}
    )
    [usage] = list(store.redis.scan_iter(match="tandem:usage:*"))
    assert 0 < lives_s(store, str(usage)) <= 100 * 24 * 3600


def test_a_job_that_is_over_stands_in_no_list_but_its_owners(store: Jobs) -> None:
    job_id = accept(store)
    store.settle(claim(store, job_id, "w"), Status.COMPLETED, outcome="completed")
    assert store.redis.zcard(keys.DUE) == store.redis.zcard(keys.waiting("api", 0)) == 0


def test_the_prompt_of_an_answered_job_is_not_kept(store: Jobs) -> None:
    """Those of others may be asked again."""
    answered, failed = accept(store), accept(store)
    store.settle(claim(store, answered, "w"), Status.COMPLETED, outcome="completed")
    store.settle(claim(store, failed, "w"), Status.FAILED, outcome="failed")
    kept = [store.redis.hexists(keys.job(job_id), "request") for job_id in (answered, failed)]
    assert kept == [False, True]


def test_an_image_lives_as_long_as_the_longest_of_its_jobs(valkey: Valkey) -> None:
    media = Media(Redis.from_url(valkey.url))
    references = {media.keep(b"picture", for_s=for_s) for for_s in (100, 1000, 10)}
    [reference] = references
    left_s = int(str(valkey.client.ttl(keys.media(reference.removeprefix("media:")))))
    assert 900 < left_s <= 1001


def test_a_circuit_that_nobody_asks_for_is_forgotten(valkey: Valkey) -> None:
    store = Jobs(valkey.client, ttl_s=TTL_S, breaker=Breaker(failures=1))
    held = claim(store, accept(store), "w")
    store.put_back(held, outcome="failed_try", reason="test", delay_s=1, told=Told.FAILED)
    circuit = f"{held.provider}:{held.target}"
    for key in (keys.circuit(circuit), keys.limit(keys.circuit_line(circuit))):
        assert 0 < lives_s(store, key) <= 24 * 3600


def test_a_limit_that_nobody_waits_for_is_not_looked_at(store: Jobs) -> None:
    store.put_back(claim(store, accept(store), "w"), outcome="rate_limited", reason="", limit="upstream", hold_s=0.001)
    due = Due(store.redis, lease_s=LEASE_S, ttl_s=TTL_S)
    until(due.let_go, within_s=5, every_s=0.01)
    until(lambda: [due.let_go(), not store.redis.exists(keys.LIMITS)][-1], within_s=5)


def test_a_circuit_that_has_closed_is_in_no_list(valkey: Valkey) -> None:
    store = Jobs(valkey.client, ttl_s=TTL_S, breaker=Breaker(failures=1))
    answered, failed = (claim(store, accept(store), "w") for _ in range(2))
    store.put_back(failed, outcome="failed_try", reason="test", delay_s=1, told=Told.FAILED)
    assert store.redis.scard(keys.CIRCUITS) == 1
    assert store.settle(answered, Status.COMPLETED, outcome="completed", told=Told.ANSWERED)
    assert store.redis.scard(keys.CIRCUITS) == 0
    assert not store.redis.exists(keys.circuit(f"{failed.provider}:{failed.target}"))
