"""Jobs that may be answered elsewhere: when they move on, what is kept of it, and who never does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.domain.standing import Lesson, State
from tasks.store import keys, places
from tasks.store.circuits import Breaker, Told
from tasks.store.claim import Claim, Taker
from tasks.store.due import Due
from tasks.store.fleet import Fleet, Worker
from tasks.store.jobs import Jobs
from tasks.store.learned import Learned
from tasks.store.places import Place
from tests.store import hand
from tests.store.hand import LEASE_S
from tests.support.valkey import Valkey

ENGINE = Place("gpu", "vllm", "", "tiny")
FIRST, SECOND = Place("api", "upstream", "", "model"), Place("api.other", "other", "its-model", "its-model")
SERVINGS = [("api", "upstream", "model"), ("api.other", "other", "another"), ("gpu", "vllm", "tiny")]
PATIENCE_S = 30.0


@pytest.fixture
def store(valkey: Valkey) -> Jobs:
    return Jobs(valkey.client, ttl_s=60, breaker=Breaker(failures=1, open_s=60, longest_s=60))


@pytest.fixture
def due(valkey: Valkey) -> Due:
    return Due(valkey.client, lease_s=LEASE_S, ttl_s=60)


@pytest.fixture
def fleet(valkey: Valkey) -> Fleet:
    return Fleet(valkey.client, lease_s=LEASE_S)


def auto(store: Jobs, *where: Place) -> str:
    first = where[0]
    patience_s = PATIENCE_S if first.queue == "gpu" else None
    more = places.fields(where, patience_s=patience_s) | {"queue": first.queue, "target": first.target}
    return hand.accept(store, more=more)


def field(store: Jobs, job_id: str, name: str) -> Any:
    return store.redis.hget(keys.job(job_id), name)


def where_is(store: Jobs, job_id: str) -> tuple[Any, ...]:
    return tuple(field(store, job_id, name) for name in ("queue", "phase", "target", "tries"))


def trail(store: Jobs, job_id: str) -> list[tuple[Any, ...]]:
    names = ("n", "queue", "provider", "model", "outcome", "reason")
    return [tuple(one.get(name) for name in names) for one in json.loads(field(store, job_id, "attempts"))]


def take(store: Jobs, job_id: str) -> Claim | None:
    epoch = int(field(store, job_id, "epoch"))
    taken = store.take(job_id, epoch, Taker(worker="w", lease_s=LEASE_S, may_isolate=True, servings=SERVINGS))
    if taken.claim is None:
        expected = [job_id] if field(store, job_id, "phase") == "queued" else []
        assert [message.job_id for message in taken.waiters.messages] == expected
        assert all(message.epoch == int(field(store, job_id, "epoch")) for message in taken.waiters.messages)
    return taken.claim


def claim(store: Jobs, job_id: str) -> Claim:
    got = take(store, job_id)
    assert got is not None
    return got


def break_circuit(store: Jobs, place: Place) -> None:
    job_id = hand.accept(store, more={"queue": place.queue, "target": place.model})
    store.put_back(claim(store, job_id), outcome="failed_try", reason="", delay_s=50, told=Told.FAILED)


def retire(store: Jobs, place: Place) -> None:
    Learned(store.redis, ttl_s=60).note(place.provider, place.model, Lesson(state=State.RETIRED, why="gone"))


def look(store: Jobs, due: Due, job_id: str) -> list[str]:
    """The sweep comes to the job."""
    store.redis.zadd(keys.DUE, {job_id: 1})
    return [message.job_id for message in due.sweep()[1]]


def soon(store: Jobs, job_id: str) -> bool:
    """Whether it is looked at again, before its deadline."""
    return 1 < (store.redis.zscore(keys.DUE, job_id) or 0) < float(field(store, job_id, "expires_at"))


def test_a_job_with_one_place_carries_no_routes() -> None:
    assert places.fields([FIRST]) == {}
    assert places.fields([FIRST, SECOND]).keys() == {"routes"}


def test_a_job_that_leaves_has_all_its_tries_before_it_and_its_trail_behind_it(store: Jobs) -> None:
    job_id = auto(store, FIRST, SECOND)
    store.put_back(claim(store, job_id), outcome="failed_try", reason="busy", charged=True)
    leaving = claim(store, job_id)
    assert (leaving.tries, leaving.places, leaving.provider) == (1, 1, "upstream")
    back = places.move(store, leaving, outcome="failed_try", reason="busy", told=Told.FAILED)
    assert back is not None
    assert [(message.job_id, message.queue) for message in back] == [(job_id, "api.other")]
    assert where_is(store, job_id) == ("api.other", "queued", "its-model", "0")
    assert field(store, job_id, "routes") is None
    arrived = claim(store, job_id)
    assert (arrived.provider, arrived.target, arrived.places, arrived.tries) == ("other", "its-model", 0, 0)
    assert trail(store, job_id) == [
        (1, "api", "upstream", "model", "failed_try", "busy"),
        (2, "api", "upstream", "model", "failed_try", "busy"),
        (3, "api.other", "other", "its-model", None, None),
    ]
    assert store.redis.exists(keys.circuit("upstream:model")), "the circuit was not told"


def test_whoever_lost_the_job_moves_nothing(store: Jobs) -> None:
    job_id = auto(store, FIRST, SECOND)
    stale = claim(store, job_id)
    store.put_back(stale, outcome="released", reason="")
    assert places.move(store, stale, outcome="failed_try", reason="busy", told=Told.FAILED) is None
    assert where_is(store, job_id)[0] == "api"
    assert not store.redis.exists(keys.circuit("upstream:model"))


def test_an_open_circuit_sends_a_job_elsewhere_visibly(store: Jobs) -> None:
    break_circuit(store, FIRST)
    job_id = auto(store, FIRST, SECOND)
    assert take(store, job_id) is None
    assert where_is(store, job_id) == ("api.other", "queued", "its-model", "0")
    assert trail(store, job_id) == [(1, "api", "upstream", "model", "passed_over", "circuit_open")]
    assert claim(store, job_id).n == 2
    assert store.redis.zscore(keys.waiting("api", 0), job_id) is None


def test_a_job_without_another_place_waits(store: Jobs) -> None:
    break_circuit(store, FIRST)
    job_id = hand.accept(store)
    assert take(store, job_id) is None
    assert where_is(store, job_id)[:2] == ("api", "parked")
    assert field(store, job_id, "attempts") is None


def test_with_all_circuits_open_it_waits_and_leaves_as_soon_as_another_closes(store: Jobs, due: Due) -> None:
    for place in (FIRST, SECOND):
        break_circuit(store, place)
    job_id = auto(store, FIRST, SECOND)
    assert take(store, job_id) is None
    assert where_is(store, job_id)[:2] == ("api", "parked")
    assert soon(store, job_id), "nobody would look whether the other one has closed"
    assert look(store, due, job_id) == []
    assert soon(store, job_id)
    store.redis.delete(keys.circuit("other:its-model"))
    assert look(store, due, job_id) == [job_id]
    assert trail(store, job_id) == [(1, "api", "upstream", "model", "passed_over", "circuit_open")]
    assert store.redis.zcard(keys.parked(keys.circuit_line("upstream:model"))) == 0
    claim(store, job_id)


def test_one_job_at_a_time_is_sent_to_try_another_places_circuit(store: Jobs) -> None:
    for place in (FIRST, SECOND):
        break_circuit(store, place)
    store.redis.hset(keys.circuit("other:its-model"), "until", 1)
    jobs = [auto(store, FIRST, SECOND) for _ in range(3)]
    for job_id in jobs:
        assert take(store, job_id) is None
    assert [where_is(store, job_id)[:2] for job_id in jobs] == [
        ("api.other", "queued"), ("api", "parked"), ("api", "parked"),
    ]  # fmt: skip
    assert claim(store, jobs[0]).is_probe


def test_a_retired_model_is_left_and_not_gone_to(store: Jobs) -> None:
    third = Place("api.third", "third", "", "m")
    retire(store, SECOND)
    job_id = auto(store, FIRST, SECOND, third)
    waiting = auto(store, FIRST, SECOND, third)
    retire(store, FIRST)
    learned = Learned(store.redis, ttl_s=60)
    assert learned.fail_queued("upstream", "model", queue="api", is_default=True) == 0, "they may go elsewhere"
    for moved in (job_id, waiting):
        assert take(store, moved) is None
        assert where_is(store, moved)[:2] == ("api.third", "queued")
        assert trail(store, moved)[-1][-2:] == ("passed_over", "model_retired")


def test_a_job_that_must_leave_goes_to_a_broken_place_rather_than_a_retired_one(store: Jobs) -> None:
    third = Place("api.third", "third", "", "m")
    job_id = auto(store, FIRST, SECOND, third)
    leaving = claim(store, job_id)
    break_circuit(store, SECOND)
    retire(store, third)
    places.move(store, leaving, outcome="failed", reason="payment_required")
    assert where_is(store, job_id)[:2] == ("api.other", "queued")


def test_a_model_that_all_have_retired_fails_the_job(store: Jobs) -> None:
    job_id = auto(store, FIRST, SECOND)
    for place in (FIRST, SECOND):
        retire(store, place)
    assert store.take(job_id, 0, Taker(worker="w", lease_s=9, may_isolate=True, servings=SERVINGS)).claim is None
    assert (field(store, job_id, "status"), field(store, job_id, "error_code")) == ("failed", "model_retired")


# ---- an engine that is not there ----


def age(store: Jobs, job_id: str, seconds: float) -> None:
    store.redis.hincrbyfloat(keys.job(job_id), "created_at", -seconds * 1000)


def test_a_job_waits_for_an_engine_that_is_not_there_for_so_long_only(store: Jobs, due: Due) -> None:
    job_id = auto(store, ENGINE, FIRST, SECOND)
    created = float(field(store, job_id, "created_at"))
    assert store.redis.zscore(keys.DUE, job_id) == created + PATIENCE_S * 1000
    age(store, job_id, PATIENCE_S - 1)
    assert look(store, due, job_id) == []
    age(store, job_id, 1)
    assert look(store, due, job_id) == [job_id]
    assert where_is(store, job_id) == ("api", "queued", "", "0")
    assert trail(store, job_id) == [(1, "gpu", "vllm", "tiny", "passed_over", "no_engine")]
    assert field(store, job_id, "patience") is None
    assert store.redis.zscore(keys.DUE, job_id) == float(field(store, job_id, "expires_at"))
    assert claim(store, job_id).places == 1


@pytest.mark.parametrize(
    ("state", "model", "stays"),
    [("ready", "tiny", True), ("loading", "tiny", False), ("broken", "tiny", False), ("ready", "other", False)],
)
def test_it_waits_on_while_an_engine_is_ready_with_its_model(
    store: Jobs, due: Due, fleet: Fleet, state: str, model: str, stays: bool
) -> None:
    job_id = auto(store, Place("gpu", "vllm", "tiny", "tiny"), FIRST)
    age(store, job_id, 2 * PATIENCE_S)
    fleet.hello(Worker(name="g", queues="gpu", state=state, model=model))
    assert look(store, due, job_id) == ([] if stays else [job_id])


def test_any_ready_engine_will_do_for_the_default(store: Jobs, due: Due, fleet: Fleet) -> None:
    job_id = auto(store, ENGINE, FIRST)
    age(store, job_id, 2 * PATIENCE_S)
    fleet.hello(Worker(name="g", queues="gpu", state="ready", model="whatever"))
    assert look(store, due, job_id) == []
    store.redis.hincrbyfloat(keys.READY_AT, "gpu", -PATIENCE_S * 1000)
    assert look(store, due, job_id) == [job_id]


def test_without_a_good_place_to_go_it_waits_on_for_the_engine(store: Jobs, due: Due) -> None:
    break_circuit(store, FIRST)
    job_id = auto(store, ENGINE, FIRST)
    age(store, job_id, 2 * PATIENCE_S)
    assert look(store, due, job_id) == []
    assert where_is(store, job_id)[:2] == ("gpu", "queued")
    assert claim(store, job_id).queue == "gpu"


def test_a_job_of_the_gpu_alone_waits_to_its_deadline(store: Jobs, due: Due) -> None:
    job_id = hand.accept(store, more={"queue": "gpu", "mode": "gpu"})
    age(store, job_id, 1000 * PATIENCE_S)
    assert look(store, due, job_id) == []
    assert store.redis.zscore(keys.DUE, job_id) == float(field(store, job_id, "expires_at"))
    assert where_is(store, job_id)[:2] == ("gpu", "queued")


def test_the_old_message_of_a_job_that_moved_finds_nothing(store: Jobs, due: Due) -> None:
    job_id = auto(store, ENGINE, FIRST)
    age(store, job_id, 2 * PATIENCE_S)
    look(store, due, job_id)
    assert store.take(job_id, 0, Taker(worker="w", lease_s=9, may_isolate=True, servings=SERVINGS)).claim is None
    assert where_is(store, job_id)[:2] == ("api", "queued")
