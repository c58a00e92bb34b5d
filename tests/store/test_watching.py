"""The sweep's judgements: crash or mere lease loss, frozen Redis, lost messages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import pytest

from tasks import publish
from tasks.store import keys
from tasks.store.claim import Claim, Taker
from tasks.store.due import LOST, Due
from tasks.store.fleet import Fleet, Worker
from tasks.store.jobs import Jobs
from tasks.store.message import Message
from tests.store import clock
from tests.store.hand import LEASE_S, SERVINGS, accept, claim
from tests.support.polling import until
from tests.support.valkey import Valkey


@pytest.fixture
def due(valkey: Valkey) -> Due:
    return Due(valkey.client, lease_s=LEASE_S, ttl_s=60, patience_s=0.05, look_s=0)


def died(store: Jobs, job_id: str, worker: str, seconds_ago: float) -> None:
    """The worker fell silent so long ago."""
    at = (time.time() - seconds_ago) * 1000
    store.redis.zadd(keys.WORKERS, {worker: at})
    store.redis.zadd(keys.DUE, {job_id: at + LEASE_S * 1000})


def swept_recently(store: Jobs) -> None:
    store.redis.hset("tandem:sweep", mapping={"swept_at": int(time.time() * 1000), "grace_until": 0})


def is_suspect(store: Jobs, job_id: str) -> bool:
    return store.redis.hget(keys.job(job_id), "suspect") == "1"


def lost(store: Jobs, due: Due, job_id: str, worker: str, seconds_ago: float = 5.0) -> None:
    """A worker claims the job, falls silent, and the lease lapses."""
    claim(store, job_id, worker)
    died(store, job_id, worker, seconds_ago)
    swept_recently(store)
    assert [message.job_id for message in due.sweep()[1]] == [job_id]


def hello(store: Jobs, worker: str) -> None:
    Fleet(store.redis, lease_s=LEASE_S).hello(Worker(name=worker, queues="api", state="ready"))


def test_jobs_of_a_worker_that_died_alone_are_suspects(store: Jobs, due: Due) -> None:
    job_id = accept(store)
    claim(store, job_id, "w1@one#a")
    died(store, job_id, "w1@one#a", 5)
    hello(store, "w2@one#b")
    swept_recently(store)
    [message] = due.sweep()[1]
    assert (message.job_id, message.epoch) == (job_id, 2)
    assert is_suspect(store, job_id)


def lost_together(store: Jobs, due: Due, *workers: str) -> list[str]:
    """The jobs of workers that fell silent at about the same time."""
    ids = [accept(store) for _ in workers]
    for n, (job_id, worker) in enumerate(zip(ids, workers, strict=True)):
        claim(store, job_id, worker)
        died(store, job_id, worker, 5 + 0.4 * n)
    swept_recently(store)
    assert {message.job_id for message in due.sweep()[1]} == set(ids)
    return ids


def test_a_host_that_went_down_with_its_workers_accuses_nobody_the_first_time(store: Jobs, due: Due) -> None:
    hello(store, "w1@two#c")
    first, second = lost_together(store, due, "w1@one#a", "w2@one#b")
    assert not is_suspect(store, first)
    assert not is_suspect(store, second)
    lost(store, due, first, "w1@one#d")
    assert is_suspect(store, first), "its second loss"


def test_workers_of_two_hosts_are_lost_together_by_chance(store: Jobs, due: Due) -> None:
    assert all(is_suspect(store, job_id) for job_id in lost_together(store, due, "w1@one#a", "w1@two#b"))


@pytest.mark.parametrize("heard_of", ["w1@one#c", "w3@one#d"])
def test_workers_are_lost_together_by_chance_where_their_host_lives(store: Jobs, due: Due, heard_of: str) -> None:
    """A restarted worker has a name of its own."""
    hello(store, heard_of)
    assert all(is_suspect(store, job_id) for job_id in lost_together(store, due, "w1@one#a", "w2@one#b"))


def test_the_second_loss_makes_a_suspect_though_nothing_is_known_of_the_workers(store: Jobs, due: Due) -> None:
    """They fell silent so long ago that they are forgotten."""
    job_id = accept(store)
    for suspected in (False, True):
        claim(store, job_id, "w1@one#a")
        store.redis.zadd(keys.DUE, {job_id: 1})
        swept_recently(store)
        assert len(due.sweep()[1]) == 1
        assert is_suspect(store, job_id) == suspected


def test_one_that_was_cleared_is_a_suspect_again_at_its_next_loss(store: Jobs, due: Due) -> None:
    job_id = accept(store)
    lost(store, due, job_id, "w1@one#a")
    store.put_back(claim(store, job_id, "w1@one#b"), outcome="failed_try", reason="busy", survived=True)
    assert not is_suspect(store, job_id)
    lost_together_with = accept(store)
    claim(store, lost_together_with, "w2@one#c")
    died(store, lost_together_with, "w2@one#c", 5)
    claim(store, job_id, "w1@one#b")
    died(store, job_id, "w1@one#b", 5)
    swept_recently(store)
    assert len(due.sweep()[1]) == 2
    assert (is_suspect(store, job_id), is_suspect(store, lost_together_with)) == (True, False)


def test_a_lease_that_lapsed_while_its_worker_lives_makes_no_suspect(store: Jobs, due: Due) -> None:
    job_id = accept(store)
    for _ in range(3):
        claim(store, job_id, "w1")
        hello(store, "w1")
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


def test_leases_are_not_extended_twice_in_a_row(store: Jobs, due: Due) -> None:
    """Workers too busy to sweep in time would extend each other's leases for ever."""
    job_id = accept(store)
    claim(store, job_id, "w1")
    died(store, job_id, "w1", 5)
    assert due.sweep()[1] == []
    # More than a lease in which nobody sweeps: what was written down lies so much further back.
    clock.move_back(store.redis, keys.SWEEP, ("swept_at", "grace_until"), LEASE_S + 0.5)
    clock.pull_forward(store.redis, keys.DUE, LEASE_S + 0.5)
    assert [message.job_id for message in due.sweep()[1]] == [job_id]


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
    got = store.take(job_id, 0, Taker(worker="w", lease_s=LEASE_S, may_isolate=False, servings=SERVINGS)).claim
    assert got is None
    assert store.redis.hget(keys.job(job_id), "phase") == "backoff"
    store.redis.zadd(keys.DUE, {job_id: 1})
    assert len(due.sweep()[1]) == 1
    assert claim(store, job_id, "w").suspect


def test_a_job_overtaken_a_moment_ago_is_not_sent_again(store: Jobs, valkey: Valkey) -> None:
    """Workers that popped both messages may claim them in either order."""
    patient = Due(valkey.client, lease_s=LEASE_S, ttl_s=60, patience_s=30, look_s=0)
    late, later = accept(store), accept(store)
    store.redis.hset(keys.job(late), "queued_at", 1)  # it has waited for long
    claim(store, later, "w")
    for _ in range(3):
        assert patient.find_lost() == []
    assert store.redis.zscore(keys.waiting("api", 0), late) is not None


def test_an_overtaken_job_lost_its_message(store: Jobs, due: Due) -> None:
    lost, later, kept = accept(store, sent=False), accept(store), accept(store)
    claim(store, later, "w")
    found = until(due.find_lost, within_s=5, every_s=0.06)
    assert [message.job_id for message in found] == [lost]
    assert store.redis.zrange(keys.waiting("api", 0), 0, -1) == [lost, kept]
    assert due.find_lost() == [], "sent again at every look"


def test_a_late_message_of_a_job_that_was_sent_again_overtakes_nobody(store: Jobs, due: Due) -> None:
    """Its worker was stopped with the message in hand, and goes on after the job was sent again."""
    held, later, *waiting = [accept(store) for _ in range(6)]
    store.redis.rpop("api")
    claim(store, later, "w")
    found = until(due.find_lost, within_s=5, every_s=0.06)
    assert [message.job_id for message in found] == [held]
    publish.send(found, store.redis)
    assert claim(store, held, "stopped").job_id == held
    for _ in range(4):
        assert due.find_lost() == []
        time.sleep(0.06)  # past the patience, each time
    assert store.redis.zrange(keys.waiting("api", 0), 0, -1) == waiting


def test_one_that_was_sent_again_and_lost_again_is_found_again(store: Jobs, due: Due) -> None:
    lost, later, last, _ = accept(store, sent=False), accept(store), accept(store), accept(store)
    claim(store, later, "w")
    until(due.find_lost, within_s=5, every_s=0.06)
    claim(store, last, "w")
    found = until(due.find_lost, within_s=5, every_s=0.06)
    assert [message.job_id for message in found] == [lost]


def ways_back(store: Jobs, due: Due) -> dict[str, Callable[[Claim], Sequence[Message] | None]]:
    """How a job comes back into line that was popped, and not run to its end through no fault of its own."""

    def reclaim(held: Claim) -> Sequence[Message]:
        store.redis.zadd(keys.DUE, {held.job_id: 1})
        swept_recently(store)
        return due.sweep()[1]

    def wait(held: Claim) -> Sequence[Message]:
        store.put_back(held, outcome="engine_away", reason="no engine", delay_s=60)
        return reclaim(held)

    return {
        "reclaimed": reclaim,
        "drained": lambda held: store.put_back(held, outcome="released", reason="stopped"),
        "crashed": lambda held: store.charge_crash(held, "died"),
        "found no engine": wait,
    }


@pytest.mark.parametrize("way", ["reclaimed", "drained", "crashed", "found no engine"])
def test_what_was_taken_and_not_run_goes_back_to_the_head_of_its_line(store: Jobs, due: Due, way: str) -> None:
    first, *behind = [accept(store) for _ in range(4)]
    back = ways_back(store, due)[way](claim(store, first, "w"))
    publish.send(back or (), store.redis)
    assert store.redis.zrange(keys.waiting("api", 0), 0, -1) == [first, *behind]
    assert json.loads(str(store.redis.rpop("api")))["headers"]["id"].startswith(first)


def test_what_a_stopping_worker_has_popped_goes_back_to_the_head(store: Jobs) -> None:
    first, *behind = [accept(store) for _ in range(3)]
    store.redis.rpop("api")
    publish.send(store.resend(first, 0), store.redis)
    assert store.redis.zrange(keys.waiting("api", 0), 0, -1) == [first, *behind]
    assert json.loads(str(store.redis.rpop("api")))["headers"]["id"].startswith(first)


def test_what_failed_by_its_own_fault_waits_behind_the_others(store: Jobs, due: Due) -> None:
    first, *behind = [accept(store) for _ in range(3)]
    held = claim(store, first, "w")
    store.put_back(held, outcome="failed_try", reason="busy", delay_s=60, charged=True)
    store.redis.zadd(keys.DUE, {first: 1})
    publish.send(due.sweep()[1], store.redis)
    assert store.redis.zrange(keys.waiting("api", 0), 0, -1) == [*behind, first]
    assert store.redis.rpop("api") == behind[0]


def test_a_line_whose_messages_are_all_gone_is_sent_again_in_its_order(store: Jobs, due: Due) -> None:
    """More than one step finds."""
    ids = [accept(store, sent=False) for _ in range(2 * LOST + 10)]
    found = until(due.find_lost, within_s=5, every_s=0.06)
    assert [message.job_id for message in found] == ids
    publish.send(found, store.redis)
    assert store.redis.zrange(keys.waiting("api", 0), 0, -1) == ids
    assert [json.loads(text)["headers"]["id"][:-2] for text in reversed(store.redis.lrange("api", 0, -1))] == ids


def test_the_fleet_looks_for_lost_messages_once_in_a_while_not_each_worker(store: Jobs, valkey: Valkey) -> None:
    fleet = [Due(valkey.client, lease_s=LEASE_S, ttl_s=60, patience_s=0.01, look_s=60) for _ in range(3)]
    accept(store, sent=False)
    assert fleet[0].find_lost() == []
    valkey.client.hset(keys.flow("api", 0), "busy_at", 1)
    time.sleep(0.02)  # past the patience
    assert [found for one in fleet for found in one.find_lost()] == []
    valkey.client.hset("tandem:sweep", "looked_at", 1)
    assert [len(one.find_lost()) for one in fleet] == [1, 0, 0]


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


def break_record(store: Jobs, job_id: str, how: str) -> None:
    """What other software, a hand or a bug may leave."""
    match how:
        case "no record":
            store.redis.delete(keys.job(job_id))
            store.redis.set(keys.job(job_id), "x")
        case "no number":
            store.redis.hset(keys.job(job_id), "expires_at", "soon")
        case "half of it":
            store.redis.hdel(keys.job(job_id), "queue", "priority")


@pytest.mark.parametrize("how", ["no record", "no number", "half of it"])
def test_a_record_that_cannot_be_read_keeps_no_other_from_being_looked_at(store: Jobs, due: Due, how: str) -> None:
    ids = [accept(store) for _ in range(3)]
    for n, job_id in enumerate(ids):
        claim(store, job_id, "w1")
        store.redis.zadd(keys.DUE, {job_id: 1 + n})
    break_record(store, ids[0], how)
    swept_recently(store)
    examined, found = due.sweep()
    # What a record lacks is given to it, so that it goes on too.
    went = ids[1:] if how == "no record" else ids
    assert (examined, [message.job_id for message in found]) == (3, went)
    assert due.sweep()[0] == 0, "it is looked at all the time"


def test_a_record_that_cannot_be_read_keeps_no_other_from_being_sent_again(store: Jobs, due: Due) -> None:
    ids = [accept(store, sent=False) for _ in range(3)]
    break_record(store, ids[0], "no record")
    due.find_lost()
    found = until(due.find_lost, within_s=5, what="the lost messages")
    assert [message.job_id for message in found] == ids[1:]
