"""What an attempt's outcome does to the record. Real store, no provider."""

from __future__ import annotations

import pytest

from tasks import attempt, charges, dispatch, settlement
from tasks.attempt import Completed, Cut, Expired, Outcome, Postponed, Refused
from tasks.domain.job import Status
from tasks.domain.provider_errors import (
    ContextTooLong,
    EngineAway,
    EngineError,
    EngineLost,
    ProviderOverloaded,
    ProviderTimeout,
    RateLimited,
    ReasoningExhausted,
)
from tasks.domain.result import Usage
from tasks.in_flight import DRAIN, LOST
from tasks.serving import Serving
from tasks.store import due, jobs
from tasks.store.claim import Taker
from tests.conftest import forget_caches
from tests.support import attempts
from tests.support.attempts import ANSWER, BY, after, claim, submit, try_to_claim
from tests.support.polling import until
from tests.support.valkey import Valkey


@pytest.fixture(autouse=True)
def _provider(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts.set_up(monkeypatch)


def test_an_answer_completes_the_job_with_its_usage() -> None:
    job = after(Completed(completion=ANSWER))
    assert job.status is Status.COMPLETED
    assert job.result == ANSWER.result.to_json()
    assert job.usage == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert job.attempts[0]["model"] == "m-2026"
    assert job.finished_at is not None


def test_a_refusal_fails_the_job_at_once() -> None:
    job = after(Refused(error=ContextTooLong("too long")))
    assert job.status is Status.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("context_too_long", "too long")


def test_a_failed_try_waits_and_the_last_one_fails_the_job() -> None:
    job = after(Postponed(error=ProviderOverloaded("busy", retry_after_s=30)))
    assert job.status is Status.PENDING
    assert job.waiting_on is not None
    assert job.waiting_on.until is not None
    assert (job.waiting_on.until - job.created_at).total_seconds() >= 30
    redis = jobs.default().redis
    for _ in range(2):
        redis.hset(f"tandem:job:{job.id}", "phase", "queued")
        job = after(Postponed(error=ProviderOverloaded("busy")), job.id)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error.code == "provider_overloaded"
    assert len(job.attempts) == 3


@pytest.mark.parametrize(
    "outcome",
    [
        Postponed(error=RateLimited("slow down", retry_after_s=60)),
        Postponed(error=EngineLost("gone")),
        Postponed(error=EngineAway("not there")),
        Cut(why=DRAIN),
    ],
)
def test_what_is_not_the_jobs_fault_is_not_charged(outcome: Outcome) -> None:
    job = after(outcome)
    assert job.status is Status.PENDING
    assert jobs.default().redis.hget(f"tandem:job:{job.id}", "tries") == "0"


def test_a_rate_limit_parks_everybody_of_that_provider() -> None:
    waiting = submit()
    after(Postponed(error=RateLimited("slow down", retry_after_s=60)))
    assert try_to_claim(waiting) is None
    found = dispatch.find(waiting, "o")
    assert found.waiting_on is not None
    assert found.waiting_on.reason == "rate_limit"
    assert found.waiting_on.until is not None
    assert found.attempts == ()


def test_a_hold_is_capped_and_the_one_call_after_it_renews_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_HOLD_CAP_S", "1")
    forget_caches()
    a_day = Postponed(error=RateLimited("slow down", retry_after_s=86_400))
    first, *others = (submit() for _ in range(3))
    after(a_day, first)
    assert [try_to_claim(job_id) for job_id in others] == [None, None]
    assert due.default().let_go() == []
    (probe,) = until(due.default().let_go, within_s=5, what="the end of the hold")
    after(a_day, probe.job_id)
    assert due.default().let_go() == []
    (_,) = until(due.default().let_go, within_s=5, what="the end of the second hold")


def test_an_operator_can_lift_a_hold() -> None:
    """By the command in docs/operations.md."""
    job_id = submit()
    after(Postponed(error=RateLimited("slow down", retry_after_s=60)), job_id)
    assert due.default().let_go() == []
    jobs.default().redis.hdel(f"tandem:limit:{BY.provider}", "until")
    assert [message.job_id for message in due.default().let_go()] == [job_id]
    assert claim(job_id).job_id == job_id


@pytest.mark.parametrize(("hint_s", "held_s"), [(None, 60), (0, 0), (1800, 1800), (86_400, 3600)])
def test_a_hold_is_as_long_as_the_provider_asks_up_to_the_cap(hint_s: float | None, held_s: float) -> None:
    assert charges.hold_s(RateLimited("slow down", retry_after_s=hint_s)) == held_s


def test_limits_are_charged_what_was_let_through_before_a_refusal_and_what_thoughts_took() -> None:
    got = claim(submit())
    call = attempt.new_call(got)
    for sends, counted in ((0, 0), (1, 0), (4, 3)):
        call.sends = sends
        assert charges.of(got, BY, Postponed(error=RateLimited("slow down")), call).sends == counted
    thoughts = ReasoningExhausted("no answer", usage=Usage(prompt_tokens=3, completion_tokens=40, total_tokens=43))
    over = charges.of(got, BY, Refused(error=thoughts), call)
    assert (over.tokens, over.answer_tokens, over.sends) == (43, 40, 4)
    assert charges.of(got, BY, Refused(error=ReasoningExhausted("no answer")), call).tokens is None


def test_a_refusal_for_one_model_lets_other_models_pass() -> None:
    waits, passes = submit(), submit()
    jobs.default().redis.hset(f"tandem:job:{passes}", "target", "another")
    error = RateLimited("slow down", retry_after_s=60)
    error.of_model = True
    after(Postponed(error=error))
    servings = [(BY.queue, BY.provider, BY.target)]
    assert (
        jobs.default().take(waits, 0, Taker(worker="w", lease_s=5, may_isolate=True, servings=servings)).claim is None
    )
    assert claim(passes).target == "another"


def test_what_a_limit_holds_beyond_its_deadline_fails_at_once() -> None:
    job = after(Postponed(error=RateLimited("come back tomorrow", retry_after_s=3600)))
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error.code == "limit_exceeds_deadline"
    assert job.attempts[0]["outcome"] == "rate_limited"


def test_a_job_in_two_engine_deaths_is_charged_only_when_alone() -> None:
    job_id = submit()
    for _ in range(2):
        assert after(Postponed(error=EngineLost("gone")), job_id).status is Status.PENDING
    for status in (Status.PENDING, Status.FAILED):
        job = after(Postponed(error=EngineLost("gone")), job_id)
        assert job.status is status
    assert job.error is not None
    assert job.error.code == "quarantined"


def test_what_an_engine_failed_at_is_charged_and_tells_the_engines_own_words() -> None:
    job = after(Postponed(error=EngineError("it failed: one")))
    assert (job.status, job.attempts[0]["outcome"], job.attempts[0]["reason"]) == (
        Status.PENDING, "failed_try", "it failed: one",
    )  # fmt: skip
    record = jobs.default().redis.hmget(f"tandem:job:{job.id}", "tries", "crashes", "engine_losses")
    assert record == ["1", "0", "0"]


@pytest.mark.parametrize(
    ("said", "attempts"), [(["one", "one"], 2), (["one", "two", "one"], 3), (["one", "two", "three"], 3)]
)
def test_what_an_engine_fails_at_twice_alike_it_will_fail_at_again(said: list[str], attempts: int) -> None:
    job_id = submit()
    jobs.default().redis.hset(f"tandem:job:{job_id}", "max_tries", 5)
    for words in said:
        job = after(Postponed(error=EngineError(words)), job_id)
        jobs.default().redis.hset(f"tandem:job:{job_id}", "phase", "queued")
    assert len(job.attempts) == attempts
    if len(set(said)) == attempts:
        assert job.status is Status.PENDING
    else:
        assert job.status is Status.FAILED
        assert job.error is not None
        assert (job.error.code, job.error.message) == ("engine_error", said[-1])


def test_an_absent_engine_is_nobodys_death() -> None:
    job_id = submit()
    after(Postponed(error=EngineAway("not there")), job_id)
    assert jobs.default().redis.hget(f"tandem:job:{job_id}", "engine_losses") == "0"


@pytest.mark.parametrize(("why", "status"), [(LOST, Status.PROCESSING), (DRAIN, Status.PENDING)])
def test_a_lost_job_is_left_alone_and_a_drained_one_lines_up(why: str, status: Status) -> None:
    assert after(Cut(why=why)).status is status


def test_a_deadline_expires_the_job() -> None:
    job = after(Expired())
    assert job.status is Status.EXPIRED
    assert job.error is not None
    assert job.error.code == "deadline_exceeded"


def test_whoever_lost_the_job_writes_nothing() -> None:
    job_id = submit()
    stale = claim(job_id)
    dispatch.cancel(job_id, "o")
    settlement.write(jobs.default(), stale, BY, Completed(completion=ANSWER))
    assert dispatch.find(job_id, "o").status is Status.CANCELLED
    assert dispatch.find(job_id, "o").result is None


@pytest.mark.parametrize("tries", [0, 1, 5, 50])
def test_backoff_grows_with_jitter_is_capped_and_honours_the_hint(tries: int) -> None:
    waits = [settlement.backoff_s(tries, None) for _ in range(200)]
    assert max(waits) <= min(60.0, 2.0**tries)
    assert len({round(wait, 6) for wait in waits}) > 150
    assert settlement.backoff_s(tries, 120.0) == 120.0


def test_a_fault_of_ours_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider cannot even be made: an unknown name stands for any bug on the way."""
    job_id = submit()
    got = claim(job_id)
    nobody = Serving(queue="api", provider="no such provider", target="m", base_url="x")
    outcome = attempt.run(got, nobody, attempt.new_call(got))
    settlement.write(jobs.default(), got, nobody, outcome)
    assert dispatch.find(job_id, "o").attempts[0]["reason"] == "internal_error"
    assert jobs.default().redis.hget(f"tandem:job:{job_id}", "tries") == "1"


@pytest.mark.parametrize(
    ("outcome", "cleared"),
    [
        (Postponed(error=ProviderOverloaded("busy")), True),
        (Postponed(error=RateLimited("slow down", retry_after_s=0.0)), True),
        (Postponed(error=EngineAway("gone")), False),
        (attempt.broken(ValueError()), False),
        (Postponed(error=ProviderTimeout("slow")), True),
        (Postponed(error=attempt.ProcessTimeout("slow, or silent")), False),
        (Cut(why=DRAIN), False),
    ],
)
def test_only_a_try_that_its_process_came_through_clears_a_suspect(outcome: Outcome, cleared: bool) -> None:
    job_id = submit()
    jobs.default().redis.hset(f"tandem:job:{job_id}", "suspect", 1)
    after(outcome, job_id)
    assert (jobs.default().redis.hget(f"tandem:job:{job_id}", "suspect") is None) == cleared
