"""Many threads settle at the same time: few round trips, and each thread its own answer."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tasks.domain.errors import Unavailable
from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.claim import Claim
from tasks.store.jobs import Jobs
from tasks.store.scripts import Scripts
from tasks.store.together import AT_ONCE, Together
from tests.store.hand import accept, claim
from tests.support.polling import until
from tests.support.valkey import Valkey

THREADS = 40


def settle(store: Jobs, held: Claim) -> bool:
    return store.settle(held, Status.COMPLETED, outcome="completed")


def test_each_thread_gets_the_answer_to_its_own_call(store: Jobs) -> None:
    held = [claim(store, accept(store), "w") for _ in range(THREADS)]
    lost = [replace(one, fence=one.fence + 1) for one in held[::2]]
    with ThreadPoolExecutor(THREADS) as pool:
        owned = list(pool.map(lambda one: settle(store, one), [*lost, *held]))
    assert owned == [False] * len(lost) + [True] * len(held)
    assert {store.redis.hget(keys.job(one.job_id), "status") for one in held} == {"completed"}
    assert not any(settle(store, one) for one in held), "settled twice"


def test_a_refused_call_fails_alone(store: Jobs) -> None:
    held = [claim(store, accept(store), "w") for _ in range(THREADS)]
    store.redis.delete(keys.job(held[7].job_id))
    store.redis.set(keys.job(held[7].job_id), "not a record")
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(settle, store, one) for one in held]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        calls[7].result()
    assert [call.result() for call in calls[:7] + calls[8:]] == [True] * (THREADS - 1)


def test_a_redis_that_forgot_the_script_is_told_it_again(store: Jobs) -> None:
    held = [claim(store, accept(store), "w") for _ in range(3)]
    assert settle(store, held[0])
    store.redis.script_flush()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda one: settle(store, one), held[1:])) == [True, True]


class Counted(Scripts):
    """Notes how many calls each round trip carried."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.carried: list[int] = []

    def answers(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        self.carried.append(len(calls))
        return super().answers(name, calls)


def test_who_comes_while_a_round_trip_is_under_way_goes_with_the_next(valkey: Valkey) -> None:
    scripts = Counted(valkey.client)
    together = Together(scripts, "resend")
    together.call([keys.job("none")], ["none", 0])
    valkey.signal(signal.SIGSTOP)
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(together.call, [keys.job(f"none{n}")], [f"none{n}", 0]) for n in range(THREADS)]
        until(lambda: len(together._waiting) == THREADS - 1, within_s=5)
        valkey.signal(signal.SIGCONT)
    assert [call.result() for call in calls] == [[]] * THREADS
    assert scripts.carried == [1, 1, AT_ONCE, AT_ONCE, THREADS - 1 - 2 * AT_ONCE]


def test_a_redis_that_is_away_is_told_to_everybody_and_found_again(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path).start()
    try:
        store = Jobs(valkey.client, ttl_s=60)
        held = [claim(store, accept(store), "w") for _ in range(THREADS)]
        valkey.kill()
        with ThreadPoolExecutor(THREADS) as pool:
            calls = [pool.submit(settle, store, one) for one in held]
        assert {type(call.exception()) for call in calls} == {Unavailable}
        valkey.start()
        with ThreadPoolExecutor(THREADS) as pool:
            assert all(pool.map(lambda one: settle(store, one), held))
    finally:
        valkey.stop()
