"""What clients find of their jobs: one per key, in a list, and word of the end."""

from __future__ import annotations

import threading
import time
from typing import cast

import pytest
from redis.client import PubSub

from tasks.domain.errors import IdempotencyMismatch, JobNotFound
from tasks.domain.job import Status
from tasks.store import events, keys
from tasks.store.claim import Taker
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tests.store.hand import LEASE_S, SERVINGS, accept, claim
from tests.support.polling import until


def test_one_key_makes_one_job_and_another_payload_is_refused(store: Jobs) -> None:
    first = accept(store, key="k")
    assert accept(store, key="k") == first
    with pytest.raises(IdempotencyMismatch):
        accept(store, key="k", fingerprint="other")
    store.erase(first, "o")
    assert accept(store, key="k") != first, "a key whose job was erased is free again"


def test_a_list_skips_what_has_expired_and_goes_on_behind_a_job(store: Jobs) -> None:
    ids = [accept(store) for _ in range(5)][::-1]
    store.redis.delete(keys.job(ids[1]))
    page, more = store.page("o", status=None, model=None, limit=2, after=None)
    assert ([job.id for job in page], more) == ([ids[0], ids[2]], True)
    page, more = store.page("o", status=Status.PENDING, model="default", limit=2, after=ids[2])
    assert ([job.id for job in page], more) == ([ids[3], ids[4]], False)
    with pytest.raises(JobNotFound):
        store.page("o", status=None, model=None, limit=2, after="job_unknown")
    assert store.page("o", status=Status.FAILED, model=None, limit=2, after=None) == ([], False)
    assert store.redis.zcard(keys.owner_jobs("o")) == 4


@pytest.mark.parametrize(("until_ms", "is_told"), [(1, False), (32503680000000, True)])
def test_a_moment_that_has_passed_is_not_told_as_the_end_of_a_wait(store: Jobs, until_ms: int, is_told: bool) -> None:
    """A circuit may have opened again since the job began to wait for it."""
    job_id = accept(store)
    store.redis.hset(keys.job(job_id), mapping={"phase": "parked", "reason": "circuit_open", "until": until_ms})
    found = store.find(job_id, "o")
    assert found is not None
    assert found.waiting_on is not None
    assert (found.waiting_on.reason, found.waiting_on.until is not None) == ("circuit_open", is_told)


def test_a_job_is_its_owners_alone(store: Jobs) -> None:
    job_id = accept(store)
    assert store.find(job_id, "another") is None
    assert not store.cancel(job_id, "another")
    assert not store.erase(job_id, "another")
    found = store.find(job_id, "o")
    assert found is not None
    assert found.status is Status.PENDING


def test_whoever_repeats_an_erasure_gets_the_same_answer(store: Jobs) -> None:
    """Its first answer may have been lost. Another owner is told nothing."""
    job_id = accept(store)
    assert [store.erase(job_id, owner) for owner in ("o", "o", "another")] == [True, True, False]
    assert 0 < int(str(store.redis.ttl(keys.erased(job_id)))) <= 24 * 3600


def test_a_job_whose_deadline_has_passed_is_not_run(store: Jobs) -> None:
    """Its message may come before the sweep does."""
    job_id = accept(store)
    store.redis.hset(keys.job(job_id), "expires_at", 1)
    taken = store.take(job_id, 0, Taker(worker="w", lease_s=LEASE_S, may_isolate=True, servings=SERVINGS))
    assert taken.claim is None
    found = store.find(job_id, "o")
    assert found is not None
    assert (found.status, found.attempts, found.error and found.error.code) == (Status.EXPIRED, (), "deadline_exceeded")


def test_whoever_waits_is_woken_by_the_end(store: Jobs) -> None:
    job_id = accept(store)
    held = claim(store, job_id, "w")
    waiters = events.Waiters(store.redis)
    threading.Timer(0.2, lambda: store.settle(held, Status.COMPLETED, outcome="completed")).start()
    begun = time.monotonic()
    try:
        assert waiters.wait(job_id, lambda: store.redis.hget(keys.job(job_id), "status") == "completed", 5)
        assert time.monotonic() - begun < 2
        assert not waiters.wait("job_none", lambda: False, 0.05)
    finally:
        waiters.stop()


def test_whoever_waits_is_woken_by_an_erasure(store: Jobs) -> None:
    job_id = accept(store)
    waiters = events.Waiters(store.redis)
    threading.Timer(0.2, lambda: store.erase(job_id, "o")).start()
    begun = time.monotonic()
    try:
        assert waiters.wait(job_id, lambda: not store.redis.exists(keys.job(job_id)), 60)
        assert time.monotonic() - begun < 30, "woken by its time, not by the erasure"
    finally:
        waiters.stop()


def heard_of(store: Jobs) -> PubSub:
    """What whoever runs jobs is told, from now on."""
    told = store.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    told.subscribe(keys.NUDGE)
    return cast(PubSub, told)


@pytest.mark.parametrize("ends_it", ["cancel", "erase", "deadline"])
def test_whoever_runs_a_job_that_ends_otherwise_is_told_at_once(store: Jobs, ends_it: str) -> None:
    """By pub/sub: a heartbeat would tell as well, a third of a lease later."""
    job_id = accept(store)
    claim(store, job_id, "w")
    told = heard_of(store)
    until(lambda: told.subscribed and not told.get_message(timeout=0.1), within_s=5)
    if ends_it == "deadline":
        store.redis.hset(keys.job(job_id), "expires_at", 1)
        store.redis.zadd(keys.DUE, {job_id: 1})
        Due(store.redis, lease_s=LEASE_S, ttl_s=60).sweep()
    else:
        getattr(store, ends_it)(job_id, "o")
    heard = until(lambda: told.get_message(timeout=0.1), within_s=5, what="the word that its call is to be cut")
    assert heard["data"] == job_id
    told.close()


def test_a_job_that_nobody_runs_is_cancelled_without_a_word(store: Jobs) -> None:
    job_id = accept(store)
    told = heard_of(store)
    assert store.cancel(job_id, "o")
    assert told.get_message(timeout=0.3) is None
    told.close()


@pytest.mark.parametrize(("alone_from", "is_taken"), [(None, True), (3, True), (2, False), (1, False)])
def test_a_job_that_was_there_when_engines_died_waits_for_one_to_itself(
    store: Jobs, alone_from: int | None, is_taken: bool
) -> None:
    job_id = accept(store)
    store.redis.hset(keys.job(job_id), "engine_losses", 2)
    taken = store.take(job_id, 0, Taker(worker="w", lease_s=LEASE_S, alone_from=alone_from, servings=SERVINGS))
    assert (taken.claim is not None) == is_taken
    found = store.find(job_id, "o")
    assert found is not None
    assert len(found.attempts) == is_taken, "waiting is no attempt"
    if not is_taken:
        assert store.redis.hmget(keys.job(job_id), "phase", "epoch") == ["backoff", "0"]
