"""A provider that is away: a job that can go nowhere else is charged by time, not by tries. Real store, no provider."""

from __future__ import annotations

import json

import pytest

from tasks import dispatch
from tasks.attempt import Completed, Postponed
from tasks.domain.job import Job, Status
from tasks.domain.provider_errors import ConnectionLost, ProviderError, ProviderTimeout, TransientError, Unreachable
from tasks.providers import refusals
from tasks.providers.transport import Answer
from tasks.store import jobs, keys
from tests.conftest import forget_caches
from tests.support import attempts
from tests.support.attempts import ANSWER, BY, after, submit, try_to_claim
from tests.support.valkey import Valkey

#: What attempts.set_up gives a job.
TRIES = 3
CIRCUIT = keys.circuit(f"{BY.provider}:{BY.target}")


@pytest.fixture(autouse=True)
def _provider(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts.set_up(monkeypatch)


@pytest.fixture
def _no_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_CIRCUIT_FAILURES", "1000")
    forget_caches()


def said(status: int) -> TransientError:
    error: ProviderError = refusals.refusal(Answer(status=status, headers={}, body=b""), provider="nim", model="m")
    assert isinstance(error, TransientError)
    return error


def fail(job_id: str, error: TransientError) -> Job:
    """A try that failed, and the wait after it is over."""
    job = after(Postponed(error=error), job_id)
    if job.status is Status.PENDING:
        jobs.default().redis.hset(keys.job(job_id), "phase", "queued")
    return job


def long_ago(job_id: str) -> None:
    """It has been failing for longer than it has to."""
    jobs.default().redis.hincrby(keys.job(job_id), "failing_since", -901_000)


def lapse() -> None:
    """The circuit's time is over."""
    jobs.default().redis.hset(CIRCUIT, "until", 1)


OUTAGES = [said(503), said(502), said(529), said(500), Unreachable("no connection"), ConnectionLost("cut")]


@pytest.mark.usefixtures("_no_circuit")
@pytest.mark.parametrize("error", OUTAGES, ids=lambda error: error.message)
def test_an_outage_fails_a_job_after_a_time_and_not_after_its_tries(error: TransientError) -> None:
    job_id = submit()
    for _ in range(3 * TRIES):
        assert fail(job_id, error).status is Status.PENDING
    long_ago(job_id)
    job = fail(job_id, error)
    assert (job.status, job.error and job.error.code) == (Status.FAILED, error.code)


@pytest.mark.usefixtures("_no_circuit")
@pytest.mark.parametrize("error", [ProviderTimeout("slow"), said(408)], ids=lambda error: error.message)
def test_what_is_no_outage_is_charged_by_tries(error: TransientError) -> None:
    job_id = submit()
    found = [fail(job_id, error).status for _ in range(TRIES)]
    assert found == [Status.PENDING, Status.PENDING, Status.FAILED]


@pytest.mark.usefixtures("_no_circuit")
@pytest.mark.parametrize(
    ("error", "ends"),
    [(said(500), True), (ConnectionLost("cut"), True), (said(503), False), (Unreachable("no"), False)],
)
def test_a_request_that_fails_while_others_are_answered_fails_quickly(error: TransientError, ends: bool) -> None:
    job_id = submit()
    fail(job_id, error)
    after(Completed(completion=ANSWER))
    found = [fail(job_id, error).status for _ in range(TRIES - 1)]
    assert found == [Status.PENDING, Status.FAILED if ends else Status.PENDING]


@pytest.mark.usefixtures("_no_circuit")
def test_an_answer_before_the_first_failure_says_nothing_of_it() -> None:
    after(Postponed(error=said(500)))
    after(Completed(completion=ANSWER))
    job_id = submit()
    for _ in range(2 * TRIES):
        assert fail(job_id, said(500)).status is Status.PENDING


@pytest.mark.parametrize(("error", "failures"), [(said(503), 3), (Unreachable("no"), 3), (ProviderTimeout("slow"), 5)])
def test_an_outage_opens_the_circuit_early(error: TransientError, failures: int) -> None:
    for _ in range(failures - 1):
        after(Postponed(error=error))
    assert try_to_claim(submit()) is not None
    after(Postponed(error=error))
    assert try_to_claim(submit()) is None


def test_a_lone_job_outlives_its_tries_while_the_circuit_is_tried_by_it() -> None:
    job_id = submit()
    for _ in range(4 * TRIES):
        lapse()
        assert fail(job_id, said(503)).status is Status.PENDING
    long_ago(job_id)
    lapse()
    assert fail(job_id, said(503)).status is Status.PENDING, "an open circuit makes jobs wait to their deadline"
    lapse()
    assert after(Completed(completion=ANSWER), job_id).status is Status.COMPLETED


def test_a_lone_job_that_only_meets_500_is_given_up_in_the_end() -> None:
    """It may be the request, and nobody else is there to tell."""
    job_id = submit()
    for _ in range(2 * TRIES):
        lapse()
        assert fail(job_id, said(500)).status is Status.PENDING
    long_ago(job_id)
    for _ in range(TRIES):
        lapse()
        if fail(job_id, said(500)).status is Status.FAILED:
            break
    assert dispatch.find(job_id, "o").status is Status.FAILED


def test_the_time_begins_anew_at_another_place() -> None:
    job_id = submit()
    fail(job_id, said(503))
    redis = jobs.default().redis
    assert redis.hexists(keys.job(job_id), "failing_since")
    here, there = [["api", BY.provider, "", BY.target], ["api.openrouter", "openrouter", "m:free", "m:free"]]
    redis.hset(keys.job(job_id), mapping={"routes": json.dumps([here, there]), "tries": TRIES - 1})
    fail(job_id, said(503))
    assert redis.hmget(keys.job(job_id), "queue", "failing_since") == ["api.openrouter", None]
