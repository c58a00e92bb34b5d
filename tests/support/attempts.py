"""One attempt at a job, by hand: submitted, claimed, and its outcome written. Real store, no provider."""

from __future__ import annotations

import pytest

from tasks import dispatch, settlement
from tasks.attempt import Outcome
from tasks.domain.job import Job, Kind, Mode, Submission
from tasks.domain.request import ChatRequest, Message
from tasks.domain.result import ChatResult, Completion, Usage
from tasks.serving import Serving
from tasks.store import jobs
from tasks.store.claim import Claim, Taker
from tests.conftest import forget_caches

BY = Serving(queue="api.sandbox", provider="sandbox", target="m", base_url="http://127.0.0.1:1/v1")
FURTHER = Serving(queue="api.openrouter", provider="openrouter", target="m:free", base_url=BY.base_url)
HELLO = ChatRequest(messages=(Message(role="user", content="hi"),))
ANSWER = Completion(
    result=ChatResult(content="Paris ✓", finish_reason="stop"),
    usage=Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5),
    model="m-2026",
)


def set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider, and three tries."""
    monkeypatch.setenv("TANDEM_SANDBOX_URL", BY.base_url)
    monkeypatch.setenv("TANDEM_MAX_TRIES", "3")
    forget_caches()


def submit(request: ChatRequest = HELLO, model: str = "default") -> str:
    asked = Submission(owner="o", kind=Kind.CHAT, mode=Mode.API, model=model, request=request, expires_in_s=120)
    return dispatch.submit(asked)[0].id


def try_to_claim(job_id: str) -> Claim | None:
    epoch = int(str(jobs.default().redis.hget(f"tandem:job:{job_id}", "epoch")))
    servings = [(one.queue, one.provider, one.target) for one in (BY, FURTHER)]
    return jobs.default().take(job_id, epoch, Taker(worker="w", lease_s=5, may_isolate=True, servings=servings)).claim


def claim(job_id: str) -> Claim:
    got = try_to_claim(job_id)
    assert got is not None
    return got


def after(outcome: Outcome, job_id: str | None = None) -> Job:
    job_id = job_id or submit()
    settlement.write(jobs.default(), claim(job_id), BY, outcome)
    return dispatch.find(job_id, "o")
