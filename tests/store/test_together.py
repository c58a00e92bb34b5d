"""Many threads settle at the same time: few round trips, and each thread its own answer."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import DataError, ResponseError

from tasks.domain.errors import Unavailable
from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.claim import Claim, Taker
from tasks.store.jobs import Jobs
from tasks.store.scripts import Scripts
from tasks.store.taken import Taken
from tasks.store.together import AT_ONCE, Together
from tests.store.hand import LEASE_S, SERVINGS, accept, claim
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


HALF = "cut \ud83d"


def gathered(store: Jobs, valkey: Valkey, held: Sequence[Claim], fields: Mapping[int, Any]) -> list[Future[bool]]:
    """All of these settled in as few round trips as they go into; `fields` of some of them."""
    valkey.signal(signal.SIGSTOP)
    with ThreadPoolExecutor(len(held)) as pool:
        calls = [
            pool.submit(
                store.settle, one, Status.COMPLETED, outcome="completed", fields={"result": fields.get(n, "{}")}
            )
            for n, one in enumerate(held)
        ]
        until(lambda: len(store._settling._waiting) == len(held) - 1, within_s=5)
        valkey.signal(signal.SIGCONT)
    return calls


@pytest.mark.parametrize(
    ("poison", "error"),
    [(HALF, UnicodeEncodeError), (None, DataError), (True, DataError), ({"a": 1}, DataError)],
)
def test_what_cannot_be_sent_fails_alone(store: Jobs, valkey: Valkey, poison: Any, error: type[Exception]) -> None:
    held = [claim(store, accept(store), "w") for _ in range(AT_ONCE + 1)]
    calls = gathered(store, valkey, held, {5: poison, 9: poison})
    assert {type(calls[n].exception()) for n in (5, 9)} == {error}
    assert [call.result() for n, call in enumerate(calls) if n not in (5, 9)] == [True] * (AT_ONCE - 1)
    assert store.redis.hget(keys.job(held[5].job_id), "status") == "processing"


def test_what_is_large_goes_in_round_trips_of_its_own(store: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.store.scripts.LOAD_BYTES", 10_000)
    held = [claim(store, accept(store), "w") for _ in range(6)]
    large = "x" * 4_000
    fields = [large, large, large, "x" * 20_000, large, "{}"]
    args = [
        ([keys.job(one.job_id)], [one.job_id, one.owner, "completed", 60, "completed", "", "", "", "result", text])
        for one, text in zip(held, fields, strict=True)
    ]
    before = commands(store.redis)
    assert store.scripts.answers("settle", args) == [1] * 6
    assert commands(store.redis) - before == 6
    assert [store.redis.hget(keys.job(one.job_id), "result") for one in held] == fields


def test_a_round_trip_that_fails_is_the_error_of_those_it_carried(store: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis refuses an argument beyond its longest, and ends the connection that it came through."""
    monkeypatch.setattr("tasks.store.scripts.LOAD_BYTES", 1_000_000)
    store.redis.config_set("proto-max-bulk-len", 1024 * 1024)
    held = [claim(store, accept(store), "w") for _ in range(3)]
    args = [
        ([keys.job(one.job_id)], [one.job_id, one.owner, "completed", 60, "completed", "", "", "", "result", text])
        for one, text in zip(held, ["{}", "x" * 2 * 1024 * 1024, "{}"], strict=True)
    ]
    try:
        first, large, last = store.scripts.answers("settle", args)
    finally:
        store.redis.config_set("proto-max-bulk-len", 512 * 1024 * 1024)
    assert (first, last) == (1, 1)
    assert isinstance(large, ResponseError | Unavailable)


def commands(redis: Redis) -> int:
    """Calls of settle.lua and all others that this Redis has run."""
    found: dict[str, Any] = redis.info("commandstats")
    return int(found.get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_an_item_that_cannot_be_read_leaves_the_others_to_their_claims(store: Jobs) -> None:
    ids = [accept(store) for _ in range(5)]
    store.redis.hset(keys.job(ids[1]), "request", "{")
    store.redis.delete(keys.job(ids[3]))
    store.redis.set(keys.job(ids[3]), "not a record")
    taker = Taker(worker="w", lease_s=LEASE_S, servings=SERVINGS)
    found = store.take_each([(one, 0) for one in ids], taker)
    assert [type(one) for one in found] == [Taken, Taken, Taken, ResponseError, Taken]
    claims = [one.claim for one in found if isinstance(one, Taken) and one.claim]
    # What was claimed is told of, so that it ends.
    assert [(one.job_id, one.fault != "") for one in claims] == [(i, i == ids[1]) for i in ids if i != ids[3]]


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
