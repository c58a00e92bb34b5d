"""Redis' clock that is set back or forth: the scripts' time goes on, and what is due stays due."""

from __future__ import annotations

from typing import cast

import pytest
from redis import Redis

from tasks.domain.circuit import CircuitState
from tasks.store import clock as scripts_clock
from tasks.store import keys
from tasks.store.circuits import Breaker, Circuits, Told
from tasks.store.due import Due
from tasks.store.fleet import Fleet, Worker
from tasks.store.jobs import Jobs
from tests.store import clock, hand
from tests.store.hand import LEASE_S
from tests.store.test_answers import question, submit
from tests.store.test_batches import BATCH
from tests.store.test_batches import House as BatchHouse
from tests.store.test_rate import A_WINDOW_AND_MORE_S, WINDOW_S, House, over
from tests.support.valkey import Valkey

HOUR_S = 3600.0
#: A test takes less than this, on any machine.
A_WHILE_S = 60


@pytest.fixture
def due(valkey: Valkey) -> Due:
    return Due(valkey.client, lease_s=LEASE_S, ttl_s=60)


def created_ms(store: Jobs) -> int:
    return int(str(store.redis.hget(keys.job(hand.accept(store)), "created_at")))


def added_s(redis: Redis) -> float:
    return clock.told(redis)[1] / 1e6


def own_s(redis: Redis) -> float:
    seconds, micros = redis.time()
    return seconds + micros / 1e6


def test_without_a_step_the_time_is_redis_own(store: Jobs) -> None:
    before_s = own_s(store.redis)
    created_s = created_ms(store) / 1000
    assert before_s - 0.001 <= created_s <= own_s(store.redis)
    assert added_s(store.redis) == 0


def test_the_time_of_scripts_does_not_go_back(store: Jobs) -> None:
    clock.ahead(store.redis, HOUR_S)
    before = created_ms(store)
    clock.step_back(store.redis, HOUR_S)
    assert 0 <= created_ms(store) - before < A_WHILE_S * 1000
    assert added_s(store.redis) == pytest.approx(HOUR_S, abs=A_WHILE_S)


def test_several_steps_back_are_all_taken_out(store: Jobs) -> None:
    created = []
    for _ in range(3):
        clock.ahead(store.redis, HOUR_S)
        created.append(created_ms(store))
        clock.step_back(store.redis, HOUR_S)
        created.append(created_ms(store))
    assert created == sorted(created)
    assert added_s(store.redis) == pytest.approx(3 * HOUR_S, abs=A_WHILE_S)


def test_a_step_forward_again_takes_back_what_was_added(store: Jobs) -> None:
    """Half of it, then more than the rest: the scripts' time goes on from where it was."""
    clock.ahead(store.redis, HOUR_S)
    clock.step_forward(store.redis, HOUR_S / 2)
    before_ms = clock.told(store.redis)[0] / 1000
    assert 0 <= created_ms(store) - before_ms < A_WHILE_S * 1000
    assert added_s(store.redis) == pytest.approx(HOUR_S / 2, abs=A_WHILE_S)
    clock.step_forward(store.redis, HOUR_S)
    assert abs(created_ms(store) / 1000 - own_s(store.redis)) < A_WHILE_S
    assert added_s(store.redis) == 0


def test_what_is_added_becomes_less_while_time_goes_on(store: Jobs) -> None:
    """A twentieth of what passes, and the time that was told is never later than the one told after it."""
    clock.ahead(store.redis, HOUR_S)
    told = [clock.now_ms(store.redis)]
    for _ in range(10):
        clock.step_forward(store.redis, 40)
        told.append(clock.now_ms(store.redis))
        told.append(created_ms(store))
        told.append(clock.now_ms(store.redis))
    # Each step moves all that was told before back by its 40 s.
    moved = [at - 40_000 * (10 - (n + 2) // 3) for n, at in enumerate(told)]
    assert moved == sorted(moved)
    assert added_s(store.redis) == pytest.approx(HOUR_S - 10 * 40 / scripts_clock.SLOWER, abs=A_WHILE_S / 20)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 30.0, 100.0, -HOUR_S])
def test_python_is_told_the_scripts_time(store: Jobs, seconds: float) -> None:
    clock.ahead(store.redis, HOUR_S)
    clock.step_forward(store.redis, seconds)
    before = clock.now_ms(store.redis)
    created = created_ms(store)
    assert before <= created <= clock.now_ms(store.redis)
    assert created - before < A_WHILE_S * 1000


def test_jobs_have_an_order_right_after_a_step(store: Jobs) -> None:
    clock.ahead(store.redis, HOUR_S)
    clock.step_back(store.redis, HOUR_S)
    ids = [hand.accept(store) for _ in range(20)]
    listed = cast(list[tuple[str, float]], store.redis.zrange(keys.owner_jobs("o"), 0, -1, withscores=True))
    assert [job_id for job_id, _ in listed] == ids
    assert len({at for _, at in listed}) == len(ids)


def test_a_lease_and_a_backoff_end_after_a_step_back(store: Jobs, due: Due) -> None:
    clock.ahead(store.redis, HOUR_S)
    due.sweep()
    lost, failed = hand.accept(store), hand.accept(store)
    hand.claim(store, lost, "w")
    claim = hand.claim(store, failed, "w")
    store.put_back(claim, outcome="failed_try", reason="busy", delay_s=LEASE_S, charged=True)
    clock.step_back(store.redis, HOUR_S)
    due.sweep()
    store.redis.hset(keys.SWEEP, "grace_until", 0)
    clock.pull_forward(store.redis, keys.DUE, LEASE_S + 1)
    assert {message.job_id for message in due.sweep()[1]} == {lost, failed}


def test_a_silent_worker_is_missed_after_a_step_back(store: Jobs) -> None:
    fleet = Fleet(store.redis, lease_s=LEASE_S)
    clock.ahead(store.redis, HOUR_S)
    fleet.hello(Worker(name="w@host#a", queues="api", state="ready"))
    clock.step_back(store.redis, HOUR_S)
    fleet.hello(Worker(name="w@host#b", queues="api", state="ready"))
    first, second = (float(str(store.redis.zscore(keys.WORKERS, f"w@host#{life}"))) for life in "ab")
    assert 0 <= second - first < A_WHILE_S * 1000
    clock.pull_forward(store.redis, keys.WORKERS, A_WHILE_S)
    assert fleet.workers() == []


def test_a_limits_window_ends_after_a_step_back(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1})
    clock.ahead(valkey.client, HOUR_S)
    house.jobs.call_over(over(house.claim(house.accept())))
    clock.step_back(valkey.client, HOUR_S)
    waits_for_s = house.take(waiting := house.accept()).waiters.next_in_s
    assert waits_for_s is not None
    assert waits_for_s <= WINDOW_S + 1
    house.pass_time(A_WINDOW_AND_MORE_S)
    assert house.let_go() == [waiting]


def test_a_circuit_is_half_open_in_time_after_a_step_back(valkey: Valkey) -> None:
    store = Jobs(valkey.client, ttl_s=60, breaker=Breaker(failures=1, open_s=400, longest_s=400))
    clock.ahead(store.redis, HOUR_S)
    claim = hand.claim(store, hand.accept(store), "w")
    store.put_back(claim, outcome="failed_try", reason="busy", delay_s=1, charged=True, told=Told.FAILED)
    clock.step_back(store.redis, HOUR_S)
    assert [circuit.state for circuit in Circuits(store.redis).not_closed()] == [CircuitState.OPEN]
    clock.move_back(store.redis, keys.circuit("upstream:model"), ["until"], 401)
    assert [circuit.state for circuit in Circuits(store.redis).not_closed()] == [CircuitState.HALF_OPEN]


def test_a_batch_is_read_as_of_the_scripts_time(valkey: Valkey) -> None:
    house = BatchHouse(valkey)
    clock.ahead(valkey.client, HOUR_S)
    house.accept(1, expires_in_s=600)
    clock.step_back(valkey.client, HOUR_S)
    batch, plan = house.batches.find(BATCH, "o"), house.work.plan(BATCH)
    assert batch is not None
    assert plan is not None
    assert 0 <= (batch.as_of - batch.created_at).total_seconds() < A_WHILE_S
    assert 600 - A_WHILE_S < plan.left_s <= 600


@pytest.mark.parametrize("ahead_s", [0, HOUR_S])
def test_what_redis_lets_lapse_is_kept_no_longer_for_what_was_added(valkey: Valkey, ahead_s: float) -> None:
    house = BatchHouse(valkey)
    clock.ahead(valkey.client, ahead_s)
    clock.step_back(valkey.client, ahead_s)
    (item,) = house.begun(1)
    house.settle(item)
    house.work.conclude(BATCH, has_last=False)
    word, at = house.work.conclude(BATCH, has_last=False)
    assert word == "lapses"
    assert house.work.let_lapse(BATCH, at, [item], is_last=True)
    assert {0 < house.redis.ttl(key) <= 60 for key in (keys.batch(BATCH), keys.job(item))} == {True}


@pytest.mark.parametrize("ahead_s", [0, HOUR_S])
def test_a_flight_is_kept_no_longer_for_what_was_added(store: Jobs, ahead_s: float) -> None:
    clock.ahead(store.redis, ahead_s)
    clock.step_back(store.redis, ahead_s)
    submit(store, question(), expires_in_s=60)
    submit(store, question(), expires_in_s=90)
    assert 0 < store.redis.ttl(keys.flight(question().flight)) <= 60 + 3600
    assert 0 < store.redis.ttl(keys.followers(question().flight)) <= 90 + 3600
