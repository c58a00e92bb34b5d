"""The circuit's scripts on a real Valkey: when it opens, who may try, what becomes of those who wait."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.circuits import Breaker, Circuits, Told
from tasks.store.claim import Claim, Taker
from tasks.store.due import LET_GO_STEP_S, Due
from tasks.store.jobs import Jobs
from tasks.store.message import Message
from tests.store import clock, hand
from tests.store.hand import LEASE_S, SERVINGS
from tests.support.valkey import Valkey

PROVIDER, MODEL = "upstream", "model"
NAME = f"{PROVIDER}:{MODEL}"
#: So long that a machine which stands still for a while makes no difference: it is over when a test says so.
OPEN_S = 400.0


@pytest.fixture
def store(valkey: Valkey) -> Jobs:
    breaker = Breaker(failures=3, open_s=OPEN_S, longest_s=4 * OPEN_S)
    return Jobs(valkey.client, ttl_s=60, breaker=breaker)


@pytest.fixture
def due(valkey: Valkey) -> Due:
    return Due(valkey.client, lease_s=LEASE_S, ttl_s=60)


def field(store: Jobs, job_id: str, name: str) -> Any:
    return store.redis.hget(keys.job(job_id), name)


def take(store: Jobs, job_id: str, worker: str = "w") -> Claim | None:
    epoch = int(field(store, job_id, "epoch"))
    return store.take(
        job_id, epoch, Taker(worker=worker, lease_s=LEASE_S, may_isolate=True, servings=SERVINGS)).claim  # fmt: skip


def fail(store: Jobs, claim: Claim, **how: Any) -> list[Message] | None:
    said = {"outcome": "failed_try", "reason": "busy", "delay_s": 30.0, "charged": True, "told": Told.FAILED} | how
    return store.put_back(claim, **said)  # type: ignore[arg-type]


def answer(store: Jobs, claim: Claim) -> None:
    assert store.settle(claim, Status.COMPLETED, outcome="completed", told=Told.ANSWERED)


def open_it(store: Jobs) -> None:
    """Three failures in a row."""
    for claim in [hand.claim(store, hand.accept(store), "w") for _ in range(3)]:
        fail(store, claim)


def lapse(store: Jobs) -> None:
    """Its time is over."""
    store.redis.hset(keys.circuit(NAME), "until", 1)


def probe(store: Jobs) -> Claim:
    claim = hand.claim(store, hand.accept(store), "w")
    assert claim.is_probe
    return claim


def test_it_opens_on_failures_in_a_row_and_makes_wait(store: Jobs) -> None:
    waiting = hand.accept(store)
    calls = [hand.claim(store, hand.accept(store), "w") for _ in range(3)]
    for call in calls[:2]:
        fail(store, call)
    another = hand.accept(store)
    hand.claim(store, another, "w")  # two are not enough
    fail(store, calls[2])
    assert take(store, waiting) is None
    assert [field(store, waiting, name) for name in ("status", "phase", "reason", "tries", "n")] == [
        "pending", "parked", "circuit_open", "0", None,
    ]  # fmt: skip
    assert field(store, waiting, "epoch") == "1", "a second copy of its message would find it again"
    assert store.redis.zscore(keys.DUE, waiting) == float(field(store, waiting, "expires_at"))
    [circuit] = Circuits(store.redis).not_closed()
    assert (circuit.provider, circuit.model, circuit.state, circuit.opens, circuit.waiting) == (
        PROVIDER, MODEL, "open", 1, 1,
    )  # fmt: skip


def test_an_answer_in_between_begins_the_count_anew(store: Jobs) -> None:
    calls = [hand.claim(store, hand.accept(store), "w") for _ in range(5)]
    for call in calls[:2]:
        fail(store, call)
    answer(store, calls[2])
    for call in calls[3:]:
        fail(store, call)
    hand.claim(store, hand.accept(store), "w")


@pytest.mark.parametrize("how", [{"limit": PROVIDER, "hold_s": 0.0}, {"outcome": "released"}])
def test_what_tells_nothing_of_the_model_is_not_counted(store: Jobs, how: dict[str, Any]) -> None:
    for claim in [hand.claim(store, hand.accept(store), "w") for _ in range(5)]:
        store.put_back(claim, **{"outcome": "rate_limited", "reason": "", **how})
    assert Circuits(store.redis).not_closed() == []
    hand.claim(store, hand.accept(store), "w")


def test_other_models_of_the_provider_go_on(store: Jobs) -> None:
    open_it(store)
    other = hand.accept(store)
    store.redis.hset(keys.job(other), "target", "another")
    assert hand.claim(store, other, "w").target == "another"


def test_one_of_all_workers_tries_at_a_time(store: Jobs) -> None:
    open_it(store)
    lapse(store)
    claims = [take(store, hand.accept(store), worker) for worker in ("w1", "w2", "w3", "w1")]
    assert [claim is not None for claim in claims] == [True, False, False, False]


def test_a_failed_probe_opens_it_for_longer_up_to_the_longest(store: Jobs) -> None:
    open_it(store)
    lasts = []
    for _ in range(4):
        lapse(store)
        fail(store, probe(store), charged=False)
        [circuit] = Circuits(store.redis).not_closed()
        assert circuit.until is not None
        seconds, micros = store.redis.time()
        lasts.append(circuit.until.timestamp() - seconds - micros / 1e6)
        assert take(store, hand.accept(store)) is None
    assert [round(last / OPEN_S) for last in lasts] == [2, 4, 4, 4]
    assert circuit.opens == 5


def test_calls_that_were_under_way_do_not_open_it_for_longer(store: Jobs) -> None:
    late = hand.claim(store, hand.accept(store), "w")
    open_it(store)
    fail(store, late)
    assert Circuits(store.redis).not_closed()[0].opens == 1
    lapse(store)
    trying = probe(store)
    assert take(store, hand.accept(store)) is None
    answer(store, trying)
    hand.claim(store, hand.accept(store), "w")


@pytest.mark.parametrize("end", ["lost", "cancelled", "erased", "released", "rate limited"])
def test_a_probe_that_ends_without_a_word_makes_room_for_the_next(store: Jobs, due: Due, end: str) -> None:
    open_it(store)
    lapse(store)
    trying = probe(store)
    match end:
        case "lost":
            store.redis.zadd(keys.DUE, {trying.job_id: 1})
            store.redis.hset("tandem:sweep", mapping={"swept_at": 2e12, "grace_until": 0})
            due.sweep()
        case "cancelled":
            store.cancel(trying.job_id, "o")
        case "erased":
            store.erase(trying.job_id, "o")
        case "released":
            store.put_back(trying, outcome="released", reason="")
        case _:
            store.put_back(trying, outcome="rate_limited", reason="", limit=PROVIDER)
            store.redis.hset(keys.limit(PROVIDER), "until", 1)
    assert probe(store).job_id != trying.job_id
    assert take(store, hand.accept(store)) is None


def test_those_who_wait_go_one_at_a_time_and_in_groups_once_it_is_closed(store: Jobs, due: Due) -> None:
    open_it(store)
    waiting = [hand.accept(store) for _ in range(8)]
    for job_id in waiting:
        assert take(store, job_id) is None
    assert OPEN_S / 2 < (due.waiters().next_in_s or 0) <= OPEN_S, "somebody must look when its time is over"
    lapse(store)
    [first] = due.let_go()
    assert due.let_go() == [], "one is on its way"
    trying = take(store, first.job_id)
    assert trying is not None
    assert trying.is_probe
    store.redis.hset(keys.circuit(NAME), "sent_at", 1)
    assert due.let_go() == [], "one tries"
    answer(store, trying)
    line, groups = keys.limit(keys.circuit_line(NAME)), []
    for _ in range(3):
        before_ms = clock.now_ms(store.redis)
        groups.append(due.waiters())
        assert int(str(store.redis.hget(line, "wake_at"))) >= before_ms + LET_GO_STEP_S * 1000
        clock.move_back(store.redis, line, ["wake_at"], LET_GO_STEP_S)
    assert [len(group.messages) for group in groups] == [1, 2, 4]
    assert [group.next_in_s for group in groups] == [LET_GO_STEP_S, LET_GO_STEP_S, None]
    assert Circuits(store.redis).not_closed() == []
    assert store.redis.smembers(keys.CIRCUITS) == set(), "its name would be kept for ever"


def test_whoever_tried_in_vain_lines_up_behind_the_others(store: Jobs, due: Due) -> None:
    open_it(store)
    older, younger = hand.accept(store), hand.accept(store)
    store.redis.hset(keys.job(older), "created_at", 1)
    line = keys.parked(keys.circuit_line(NAME))
    assert take(store, older) is None
    lapse(store)
    assert [message.job_id for message in due.let_go()] == [older]
    trying = take(store, older)
    assert trying is not None
    assert take(store, younger) is None
    store.redis.zincrby(line, -1, younger)  # by a millisecond, which may not have passed
    fail(store, trying, charged=False, delay_s=0.0)
    assert take(store, older) is None
    assert store.redis.zrange(line, 0, -1) == [younger, older]


def test_the_one_who_was_sent_and_does_not_come_is_not_waited_for(store: Jobs, due: Due) -> None:
    open_it(store)
    for _ in range(2):
        take(store, hand.accept(store))
    lapse(store)
    assert len(due.let_go()) == 1
    assert due.let_go() == []
    clock.move_back(store.redis, keys.circuit(NAME), ["sent_at"], 1.0)
    assert len(due.let_go()) == 1


def test_a_job_that_waits_for_a_circuit_expires_at_its_deadline(store: Jobs, due: Due) -> None:
    open_it(store)
    job_id = hand.accept(store)
    take(store, job_id)
    store.redis.hset(keys.job(job_id), "expires_at", 1)
    store.redis.zadd(keys.DUE, {job_id: 1})
    due.sweep()
    assert (field(store, job_id, "status"), field(store, job_id, "error_code")) == ("expired", "deadline_exceeded")
    assert store.redis.zcard(keys.parked(keys.circuit_line(NAME))) == 0


def test_room_that_was_booked_is_given_back_when_the_circuit_is_open(valkey: Valkey) -> None:
    quota = {"rpm": 9, "tpm": 0, "rpd": 0, "calls": 0, "guessed": False}
    times = {"window": 60_000, "arrival": 20, "grant": 50_000, "longest": 5000}
    store = Jobs(valkey.client, ttl_s=60, policy=json.dumps({**times, "scopes": {PROVIDER: quota}}))
    job_id = hand.accept(store)
    store.redis.hset(keys.circuit(NAME), mapping={"until": "9" * 13, "opened_at": 1, "opens": 1})
    store.redis.zadd(keys.requests(PROVIDER), {f"{job_id}.1": "9" * 13})
    assert take(store, job_id) is None
    assert store.redis.zcard(keys.requests(PROVIDER)) == 0
