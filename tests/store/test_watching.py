"""The sweep's judgements: crash or mere lease loss, frozen Redis, lost messages; and what else the store tells."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path

import pytest

from tasks.domain.errors import IdempotencyMismatch, JobNotFound, Unavailable
from tasks.domain.job import Status
from tasks.store import events, keys
from tasks.store.capacity import Capacity
from tasks.store.claim import Claim
from tasks.store.due import Due
from tasks.store.durability import Durability
from tasks.store.fleet import Fleet, Worker
from tasks.store.jobs import Jobs, NewJob
from tests.support.polling import until
from tests.support.valkey import Valkey

LEASE_S = 2.0
SERVINGS = [("api", "upstream", "model")]


@pytest.fixture
def store(valkey: Valkey) -> Jobs:
    return Jobs(valkey.client, ttl_s=60)


@pytest.fixture
def due(valkey: Valkey) -> Due:
    return Due(valkey.client, lease_s=LEASE_S, ttl_s=60, patience_s=0.05)


def accept(store: Jobs, *, key: str | None = None, fingerprint: str = "f", sent: bool = True) -> str:
    record = {"owner": "o", "kind": "chat", "mode": "auto", "model": "default", "request": "{}", "metadata": "{}",
              "queue": "api", "priority": "0", "target": "", "max_tries": "5"}  # fmt: skip
    new = NewJob(job_id=f"job_{secrets.token_hex(8)}", owner="o", idempotency_key=key,
                 fingerprint=fingerprint, expires_in_s=60, list_age_s=60, fields=record)  # fmt: skip
    job_id = store.accept(new).job_id
    if sent:
        store.redis.lpush("api", job_id)
    return job_id


def claim(store: Jobs, job_id: str, worker: str) -> Claim:
    store.redis.rpop("api")
    epoch = int(str(store.redis.hget(keys.job(job_id), "epoch")))
    got = store.claim(job_id, epoch, worker=worker, lease_s=LEASE_S, may_isolate=True, servings=SERVINGS)
    assert got is not None
    return got


def died(store: Jobs, job_id: str, worker: str, seconds_ago: float) -> None:
    """The worker fell silent so long ago."""
    at = (time.time() - seconds_ago) * 1000
    store.redis.zadd(keys.WORKERS, {worker: at})
    store.redis.zadd(keys.DUE, {job_id: at + LEASE_S * 1000})


def swept_recently(store: Jobs) -> None:
    store.redis.hset("tandem:sweep", mapping={"swept_at": int(time.time() * 1000), "grace_until": 0})


def is_suspect(store: Jobs, job_id: str) -> bool:
    return store.redis.hget(keys.job(job_id), "suspect") == "1"


def test_jobs_of_a_worker_that_died_alone_are_suspects(store: Jobs, due: Due) -> None:
    job_id = accept(store)
    claim(store, job_id, "w1")
    died(store, job_id, "w1", 5)
    Fleet(store.redis, lease_s=LEASE_S).hello(Worker(name="w2", queues="api", state="ready"))
    swept_recently(store)
    [message] = due.sweep()[1]
    assert (message.job_id, message.epoch) == (job_id, 2)
    assert is_suspect(store, job_id)


def test_workers_lost_together_make_no_suspects(store: Jobs, due: Due) -> None:
    first, second = accept(store), accept(store)
    for job_id, worker, ago in ((first, "w1", 5.0), (second, "w2", 5.4)):
        claim(store, job_id, worker)
        died(store, job_id, worker, ago)
    swept_recently(store)
    assert {message.job_id for message in due.sweep()[1]} == {first, second}
    assert not is_suspect(store, first)
    assert not is_suspect(store, second)


def test_a_lease_that_lapsed_while_its_worker_lives_makes_no_suspect(store: Jobs, due: Due) -> None:
    job_id = accept(store)
    claim(store, job_id, "w1")
    Fleet(store.redis, lease_s=LEASE_S).hello(Worker(name="w1", queues="api", state="ready"))
    store.redis.zadd(keys.DUE, {job_id: 1})
    swept_recently(store)
    assert len(due.sweep()[1]) == 1
    assert not is_suspect(store, job_id)


def test_leases_are_extended_once_when_nobody_could_sweep(store: Jobs, due: Due) -> None:
    job_id = accept(store)
    claim(store, job_id, "w1")
    died(store, job_id, "w1", 5)
    assert due.sweep()[1] == []
    until(lambda: due.sweep()[1], within_s=LEASE_S + 2, every_s=0.2, what="the job being taken away after all")


def test_a_heartbeat_keeps_a_lease_and_tells_what_is_lost(store: Jobs) -> None:
    job_id = accept(store)
    held = claim(store, job_id, "w1")
    store.redis.zadd(keys.DUE, {job_id: 1})
    fleet = Fleet(store.redis, lease_s=LEASE_S)
    lost = fleet.hello(Worker(name="w1", queues="api", state="ready"), [(job_id, held.fence), (job_id, 99)])
    assert lost == [(job_id, 99)]
    assert float(str(store.redis.zscore(keys.DUE, job_id))) > time.time() * 1000 + 1000
    assert [worker.name for worker in fleet.workers()] == ["w1"]


def test_a_suspect_waits_for_a_place_of_its_own(store: Jobs, due: Due) -> None:
    job_id = accept(store)
    store.redis.hset(keys.job(job_id), "suspect", 1)
    got = store.claim(job_id, 0, worker="w", lease_s=LEASE_S, may_isolate=False, servings=SERVINGS)
    assert got is None
    assert store.redis.hget(keys.job(job_id), "phase") == "backoff"
    store.redis.zadd(keys.DUE, {job_id: 1})
    assert len(due.sweep()[1]) == 1
    assert claim(store, job_id, "w").suspect


def test_an_overtaken_job_lost_its_message(store: Jobs, due: Due) -> None:
    lost, later, kept = accept(store, sent=False), accept(store), accept(store)
    claim(store, later, "w")
    found = until(due.find_lost, within_s=5, every_s=0.06)
    assert [message.job_id for message in found] == [lost]
    assert store.redis.zscore(keys.waiting("api", 0), lost) > store.redis.zscore(keys.waiting("api", 0), kept)  # type: ignore[operator]
    assert due.find_lost() == [], "sent again at every look"


def test_a_job_waiting_at_an_empty_queue_lost_its_message(store: Jobs, due: Due) -> None:
    job_id = accept(store, sent=False)
    assert due.find_lost() == [], "it may be on its way"
    found = until(due.find_lost, within_s=5, every_s=0.06)
    assert [message.job_id for message in found] == [job_id]


def test_a_job_whose_message_waits_is_left_alone(store: Jobs, due: Due) -> None:
    accept(store)
    for _ in range(5):
        assert due.find_lost() == []
        time.sleep(0.06)  # past the patience, each time


def test_a_wait_beyond_the_deadline_is_watched_for_the_deadline(store: Jobs) -> None:
    job_id = accept(store)
    store.put_back(claim(store, job_id, "w"), outcome="failed_try", reason="busy", delay_s=3600)
    expires_at = float(str(store.redis.hget(keys.job(job_id), "expires_at")))
    assert store.redis.zscore(keys.DUE, job_id) == expires_at


def test_an_entry_whose_record_is_gone_stops_nobody(store: Jobs, due: Due) -> None:
    store.redis.sadd("tandem:lines", "api 0")
    store.redis.zadd(keys.waiting("api", 0), {"job_ghost": 1})
    store.redis.sadd("tandem:limits", "upstream")
    store.redis.zadd(keys.parked("upstream"), {"job_ghost": 1})
    assert due.let_go() == []
    until(lambda: [*due.find_lost(), not store.redis.zcard(keys.waiting("api", 0))][-1], within_s=5, every_s=0.06)


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


def test_capacity_refuses_before_redis_is_full(tmp_path: Path) -> None:
    server = Valkey(tmp_path, "--maxmemory", "64mb", append_only=False).start()
    try:
        room = Capacity(server.client, share=0.3)
        room.reserve(1000)
        server.client.set("x", "y" * 20 * 1024 * 1024)
        with pytest.raises(Unavailable):
            room.reserve(2 * 1024 * 1024)
    finally:
        server.stop()


def test_durability_has_every_write_answered_from_disk(tmp_path: Path) -> None:
    server = Valkey(tmp_path, "--appendfsync", "everysec").start()
    try:
        Durability(server.client).ensure()
        assert server.client.config_get("appendfsync") == {"appendfsync": "always"}
    finally:
        server.stop()


@pytest.mark.parametrize("fault", ["appendonly off", "settings forbidden"])
def test_durability_is_refused_where_it_cannot_be_had(tmp_path: Path, fault: str) -> None:
    server = Valkey(tmp_path, append_only=fault != "appendonly off").start()
    try:
        if fault == "settings forbidden":
            server.client.acl_setuser("default", enabled=True, nopass=True, commands=["-config"])
        with pytest.raises(Unavailable, match="on disk"):
            Durability(server.client).ensure()
    finally:
        server.stop()
