"""What an attempt's outcome means for its place: circuits, and jobs that go elsewhere. Real store, no provider."""

from __future__ import annotations

import pytest

from tasks import attempt, dispatch
from tasks.attempt import Completed, Cut, Outcome, Postponed, Refused
from tasks.domain.job import Status
from tasks.domain.provider_errors import (
    AccessDenied,
    AuthenticationFailed,
    BadRequest,
    ConnectionLost,
    ContextTooLong,
    EmptyAnswer,
    EngineAway,
    EngineError,
    EngineLost,
    EngineRefused,
    ImageUnfit,
    InvalidResponse,
    ModelNotFound,
    ModelRetired,
    PaymentRequired,
    PermanentError,
    ProviderOverloaded,
    ProviderTimeout,
    RateLimited,
    ReasoningExhausted,
    TransientError,
    UnusableAnswer,
)
from tasks.in_flight import DRAIN
from tasks.store import jobs, keys, places
from tasks.store.places import Place
from tests.support import attempts
from tests.support.attempts import ANSWER, BY, FURTHER, after, claim, submit, try_to_claim
from tests.support.valkey import Valkey


@pytest.fixture(autouse=True)
def _provider(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts.set_up(monkeypatch)


def submit_with_another_place() -> str:
    job_id = submit()
    here, there = (Place(one.queue, one.provider, one.target, one.target) for one in (BY, FURTHER))
    pairs = [part for pair in places.fields([here, there]).items() for part in pair]
    jobs.default().redis.hset(f"tandem:job:{job_id}", items=pairs)
    return job_id


def where(job_id: str) -> object:
    return jobs.default().redis.hget(f"tandem:job:{job_id}", "queue")


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationFailed("401"),
        PaymentRequired("402"),
        AccessDenied("403"),
        ModelNotFound("404"),
        ModelRetired("410"),
        InvalidResponse("no answer"),
        EngineRefused("it failed"),
    ],
)
def test_what_the_provider_will_never_answer_is_asked_elsewhere(error: PermanentError) -> None:
    job = after(Refused(error=error), submit_with_another_place())
    assert (job.status, where(job.id)) == (Status.PENDING, FURTHER.queue)
    [attempt] = job.attempts
    assert (attempt["queue"], attempt["provider"], attempt["outcome"], attempt["reason"]) == (
        "api.sandbox", "sandbox", "failed", error.code,
    )  # fmt: skip


def test_where_there_is_no_other_place_it_fails() -> None:
    assert after(Refused(error=PaymentRequired("402"))).status is Status.FAILED


@pytest.mark.parametrize("error", [BadRequest("no"), ContextTooLong("no"), ReasoningExhausted("no"), ImageUnfit("no")])
def test_what_speaks_of_the_request_is_asked_nowhere_else(error: PermanentError) -> None:
    job = after(Refused(error=error), submit_with_another_place())
    assert (job.status, where(job.id)) == (Status.FAILED, "api.sandbox")


def test_the_last_try_here_is_followed_by_a_first_one_elsewhere() -> None:
    job_id = submit_with_another_place()
    redis = jobs.default().redis
    for queue in (BY.queue, BY.queue, FURTHER.queue):
        assert after(Postponed(error=ProviderOverloaded("busy")), job_id).status is Status.PENDING
        redis.hset(f"tandem:job:{job_id}", "phase", "queued")
        assert where(job_id) == queue
    assert redis.hget(f"tandem:job:{job_id}", "tries") == "0"


@pytest.mark.parametrize(
    "outcome",
    [
        Postponed(error=RateLimited("slow down", retry_after_s=1)),
        Postponed(error=EngineAway("not there")),
        Postponed(error=attempt.InternalError("a bug")),
        Cut(why=DRAIN),
    ],
)
def test_what_is_nobodys_fault_keeps_a_job_where_it_is(outcome: Outcome) -> None:
    job_id = submit_with_another_place()
    jobs.default().redis.hset(f"tandem:job:{job_id}", "tries", 2)
    after(outcome, job_id)
    assert where(job_id) == BY.queue


def test_a_job_whose_engine_died_twice_goes_elsewhere() -> None:
    job_id = submit_with_another_place()
    for queue in (BY.queue, FURTHER.queue):
        after(Postponed(error=EngineLost("gone")), job_id)
        assert where(job_id) == queue


def test_what_an_engine_fails_at_twice_alike_is_asked_elsewhere() -> None:
    job_id = submit_with_another_place()
    for queue in (BY.queue, FURTHER.queue):
        job = after(Postponed(error=EngineError("it failed")), job_id)
        assert (job.status, where(job_id)) == (Status.PENDING, queue)
        jobs.default().redis.hset(f"tandem:job:{job_id}", "phase", "queued")


def fail_so_often(error: TransientError, times: int) -> None:
    for _ in range(times):
        after(Postponed(error=error))


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (ProviderTimeout("slow"), True),
        (ProviderOverloaded("busy"), True),
        (ConnectionLost("cut"), True),
        (RateLimited("slow down", retry_after_s=0), False),
        (EngineLost("gone"), False),
        (EngineAway("not there"), False),
        (EngineError("it failed"), False),
        (attempt.InternalError("a bug"), False),
        (attempt.ProcessTimeout("slow, or silent"), False),
    ],
)
def test_which_failures_open_a_circuit(error: TransientError, opens: bool) -> None:
    waiting = submit()
    fail_so_often(error, 3 if error.is_outage else 5)  # what looks like an outage counts twice
    jobs.default().redis.delete(keys.limit(BY.provider))
    found = try_to_claim(waiting)
    assert (found is None) == opens
    reason = dispatch.find(waiting, "o").waiting_on
    assert (reason is not None and reason.reason == "circuit_open") == opens


CLOSING = [
    (ReasoningExhausted("thoughts"), True),
    (EmptyAnswer("nothing"), True),
    (UnusableAnswer("too long"), True),
    (EngineRefused("it failed"), True),
    (BadRequest("no"), False),
]


@pytest.mark.parametrize(("error", "closes"), CLOSING)
def test_a_model_that_thought_has_answered_and_a_refusal_tells_nothing(error: PermanentError, closes: bool) -> None:
    fail_so_often(ProviderOverloaded("busy"), 4)
    after(Refused(error=error))
    fail_so_often(ProviderOverloaded("busy"), 1)
    assert (try_to_claim(submit()) is None) != closes


def test_trying_an_open_circuit_in_vain_costs_a_job_no_try() -> None:
    fail_so_often(ProviderOverloaded("busy"), 5)
    job_id = submit()
    redis = jobs.default().redis
    for _ in range(4):  # one more than it has tries
        redis.hset(keys.circuit(f"{BY.provider}:{BY.target}"), "until", 1)
        job = after(Postponed(error=ProviderOverloaded("busy")), job_id)
        assert job.status is Status.PENDING
        redis.hset(f"tandem:job:{job_id}", "phase", "queued")
    assert redis.hget(f"tandem:job:{job_id}", "tries") == "0"
    redis.hset(keys.circuit(f"{BY.provider}:{BY.target}"), "until", 1)
    assert after(Completed(completion=ANSWER), job_id).status is Status.COMPLETED
    claim(submit())
