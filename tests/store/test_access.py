"""A provider that refuses our key, by the scripts on a real Valkey: who waits, who asks again, what ends the hold."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.domain.job import Status
from tasks.store import access, keys, places
from tasks.store.access import Access, Waits
from tasks.store.circuits import Breaker, Circuits, KeyRefused, Told
from tasks.store.claim import Claim, Taker
from tasks.store.due import LET_GO_MOST, LET_GO_STEP_S, Due
from tasks.store.jobs import Jobs
from tasks.store.places import Place
from tests.store import hand
from tests.store.hand import LEASE_S, SERVINGS
from tests.support.valkey import Valkey

PROVIDER, MODEL = "upstream", "model"
#: So long that a machine which stands still for a while makes no difference: it is over when a test says so.
BREAKER = Breaker(failures=3, open_s=400, longest_s=1600)
UNKNOWN, UNPAID = "authentication_failed", "payment_required"


@pytest.fixture
def store(valkey: Valkey) -> Jobs:
    return Jobs(valkey.client, ttl_s=60, breaker=BREAKER)


@pytest.fixture
def accounts(valkey: Valkey) -> Access:
    return Access(valkey.client, breaker=BREAKER)


@pytest.fixture
def due(valkey: Valkey) -> Due:
    return Due(valkey.client, lease_s=LEASE_S, ttl_s=60)


def field(store: Jobs, job_id: str, *names: str) -> list[Any]:
    return list(store.redis.hmget(keys.job(job_id), names))


def take(store: Jobs, job_id: str) -> Claim | None:
    epoch = int(field(store, job_id, "epoch")[0])
    return store.take(job_id, epoch, Taker(worker="w", lease_s=LEASE_S, servings=SERVINGS)).claim


def of_model(store: Jobs, model: str) -> str:
    job_id = hand.accept(store)
    store.redis.hset(keys.job(job_id), "target", model)
    return job_id


def refuse(store: Jobs, why: str = UNKNOWN) -> str:
    """A job whose call found the key refused."""
    job_id = hand.accept(store)
    assert access.wait(store, hand.claim(store, job_id, "w"), why=why) is Waits.WAITS
    return job_id


def lapse(store: Jobs) -> None:
    """It is time to ask again."""
    store.redis.hset(keys.circuit(f"key:{PROVIDER}"), "until", 1)


def answer(store: Jobs, claim: Claim) -> None:
    assert store.settle(claim, Status.COMPLETED, outcome="completed", told=Told.ANSWERED)


def test_one_refusal_makes_all_jobs_of_the_provider_wait_uncharged(store: Jobs, accounts: Access) -> None:
    under_way = hand.claim(store, hand.accept(store), "w")
    refused = refuse(store)
    others = [hand.accept(store), of_model(store, "another")]
    assert [take(store, job_id) for job_id in others] == [None, None]
    assert access.wait(store, under_way, why=UNKNOWN) is Waits.WAITS
    for job_id in [refused, *others, under_way.job_id]:
        assert field(store, job_id, "status", "phase", "reason", "tries") == ["pending", "parked", "key_refused", "0"]
    [held] = accounts.held()
    assert (held.provider, held.reason, held.waiting) == (PROVIDER, UNKNOWN, 4)
    assert Circuits(store.redis).not_closed() == [], "no model is to blame"


def test_one_call_asks_again_and_each_refusal_makes_the_pause_longer_up_to_the_longest(
    store: Jobs, accounts: Access
) -> None:
    refuse(store)
    lasts = []
    for _ in range(4):
        lapse(store)
        trying = take(store, hand.accept(store))
        assert trying is not None
        assert take(store, hand.accept(store)) is None, "one at a time"
        assert access.wait(store, trying, why=UNPAID) is Waits.WAITS
        [held] = accounts.held()
        seconds, micros = store.redis.time()
        assert held.until is not None
        lasts.append(held.until.timestamp() - seconds - micros / 1e6)
    assert [round(last / BREAKER.open_s) for last in lasts] == [2, 4, 4, 4]
    assert held.reason == UNPAID


def test_an_answer_lets_all_go_in_growing_groups(store: Jobs, accounts: Access, due: Due) -> None:
    waiting = [refuse(store)] + [hand.accept(store) for _ in range(6)]
    for job_id in waiting[1:]:
        assert take(store, job_id) is None
    assert due.let_go() == []
    lapse(store)
    [first] = due.let_go()
    trying = take(store, first.job_id)
    assert trying is not None
    answer(store, trying)
    assert accounts.held() == []
    assert store.redis.smembers(keys.CIRCUITS) == set(), "its name would be kept for ever"
    gone = 0
    for _ in range(3):
        store.redis.hset(keys.limit(keys.circuit_line(f"key:{PROVIDER}")), "wake_at", 1)
        gone += len(due.let_go())
    assert gone == len(waiting) - 1


def test_a_large_group_goes_a_few_at_a_time_over_its_time(store: Jobs, due: Due) -> None:
    first = refuse(store)
    for _ in range(900):
        assert take(store, hand.accept(store)) is None
    lapse(store)
    due.let_go()
    trying = take(store, first)
    assert trying is not None
    answer(store, trying)
    parts: list[tuple[int, float]] = []
    while sum(count for count, _ in parts) < 900:
        store.redis.hset(keys.limit(keys.circuit_line(f"key:{PROVIDER}")), "wake_at", 1)
        waiters = due.waiters()
        parts.append((len(waiters.messages), waiters.next_in_s or LET_GO_STEP_S))
    assert parts[:5] == [(1, 0.5), (2, 0.5), (4, 0.5), (8, 0.5), (16, 0.5)]
    assert {count for count, _ in parts[5:-1]} == {25}
    rates = [count / next_s for count, next_s in parts[5:-1]]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(32 / LET_GO_STEP_S, rel=0.02)
    assert rates[-1] == pytest.approx(LET_GO_MOST / LET_GO_STEP_S, rel=0.05)


def test_what_was_sent_before_the_refusal_does_not_end_the_hold(store: Jobs, accounts: Access) -> None:
    slow = hand.claim(store, hand.accept(store), "w")
    refuse(store)
    answer(store, slow)
    assert len(accounts.held()) == 1
    assert take(store, hand.accept(store)) is None


def test_whoever_lost_the_job_says_nothing_of_the_key(store: Jobs, accounts: Access) -> None:
    stale = hand.claim(store, hand.accept(store), "w")
    store.cancel(stale.job_id, "o")
    assert access.wait(store, stale, why=UNKNOWN) is Waits.GONE
    assert accounts.held() == []


def test_a_worker_with_another_key_ends_the_hold_and_one_with_the_same_asks_at_once(
    store: Jobs, accounts: Access
) -> None:
    assert not accounts.begin(PROVIDER, "one")
    waiting = refuse(store)
    assert not accounts.begin(PROVIDER, "one")
    assert len(accounts.held()) == 1
    trying = take(store, hand.accept(store))
    assert trying is not None, "somebody may ask at once"
    assert access.wait(store, trying, why=UNKNOWN) is Waits.WAITS
    assert accounts.begin(PROVIDER, "two")
    assert accounts.held() == []
    assert take(store, hand.accept(store)) is not None
    assert field(store, waiting, "status") == ["pending"]


def test_a_key_that_is_refused_when_it_is_looked_at_holds_before_anything_was_asked(
    store: Jobs, accounts: Access
) -> None:
    assert accounts.hold(PROVIDER, UNKNOWN)
    assert not accounts.hold(PROVIDER, UNKNOWN)
    job_id = hand.accept(store)
    assert take(store, job_id) is None
    assert field(store, job_id, "reason", "n") == ["key_refused", None]


def prove(store: Jobs) -> None:
    """Another model is answered under the key."""
    lapse(store)
    trying = take(store, of_model(store, "another"))
    assert trying is not None
    answer(store, trying)


def test_a_model_that_is_refused_while_others_are_answered_holds_nobody(store: Jobs, accounts: Access) -> None:
    for _ in range(2):
        refuse(store, UNPAID)
        prove(store)
    claim = hand.claim(store, hand.accept(store), "w")
    assert access.wait(store, claim, why=UNPAID) is Waits.OF_MODEL
    assert field(store, claim.job_id, "status") == ["processing"], "it is the caller's to end"
    assert accounts.held() == []
    assert take(store, of_model(store, "another")) is not None


def test_a_model_that_was_answered_since_is_not_to_blame(store: Jobs, accounts: Access) -> None:
    for _ in range(2):
        refuse(store, UNPAID)
        prove(store)
        answer(store, hand.claim(store, hand.accept(store), "w"))
    refuse(store, UNPAID)
    assert len(accounts.held()) == 1


def test_a_key_that_is_not_known_is_never_a_models_affair(store: Jobs, accounts: Access) -> None:
    for _ in range(5):
        refuse(store, UNKNOWN)
        prove(store)
    refuse(store, UNKNOWN)
    assert len(accounts.held()) == 1


def test_a_job_of_several_places_goes_on_and_later_ones_do_not_even_ask(store: Jobs) -> None:
    def with_places() -> str:
        job_id = hand.accept(store)
        further = [Place("api", PROVIDER, "", MODEL), Place("api.other", "other", "", "its")]
        store.redis.hset(keys.job(job_id), items=[part for pair in places.fields(further).items() for part in pair])
        return job_id

    first, second = with_places(), with_places()
    told = KeyRefused(why=UNKNOWN)
    assert places.move(store, hand.claim(store, first, "w"), outcome="failed", reason=UNKNOWN, told=told)
    assert take(store, second) is None
    assert [field(store, one, "queue", "status") for one in (first, second)] == [["api.other", "pending"]] * 2
    assert '"reason":"key_refused"' in field(store, second, "attempts")[0]


def test_no_job_goes_to_a_place_whose_key_is_refused(store: Jobs) -> None:
    store.redis.hset(keys.circuit("key:other"), mapping={"until": "9" * 13, "opened_at": 1, "opens": 1})
    job_id = hand.accept(store)
    further = [Place("api", PROVIDER, "", MODEL), Place("api.other", "other", "", "its"), Place("c", "third", "", "x")]
    store.redis.hset(keys.job(job_id), items=[part for pair in places.fields(further).items() for part in pair])
    assert places.move(store, hand.claim(store, job_id, "w"), outcome="failed", reason="test")
    assert field(store, job_id, "queue") == ["c"]


def test_a_job_that_waits_for_the_key_expires_at_its_deadline(store: Jobs, due: Due) -> None:
    job_id = refuse(store)
    store.redis.hset(keys.job(job_id), "expires_at", 1)
    store.redis.zadd(keys.DUE, {job_id: 1})
    due.sweep()
    assert field(store, job_id, "status", "error_code") == ["expired", "deadline_exceeded"]
    assert store.redis.zcard(keys.parked(keys.circuit_line(f"key:{PROVIDER}"))) == 0
