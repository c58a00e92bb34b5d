"""How a job ends: what its record and its last attempt say then. False where it is not ours any more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tasks import fallback
from tasks.attempt import Completed, Postponed, Refused
from tasks.domain.job import Status
from tasks.domain.provider_errors import ProviderError, ReasoningExhausted
from tasks.domain.result import Usage
from tasks.store.claim import Claim
from tasks.store.jobs import Jobs
from tasks.vision import Receipt


def complete(jobs: Jobs, claim: Claim, outcome: Completed) -> bool:
    """Settle a job with its answer."""
    answer = outcome.completion
    spent = _spent(answer.usage)
    fields = {"result": json.dumps(answer.result.to_json(), ensure_ascii=False)} | _seen(outcome.images) | _texts(spent)
    attempt = {"model": answer.model} | spent
    told = fallback.told(outcome)
    return jobs.settle(claim, Status.COMPLETED, outcome="completed", attempt=attempt, fields=fields, told=told)


def fail(jobs: Jobs, claim: Claim, error: ProviderError, outcome: Refused | Postponed) -> bool:
    """Settle a job as failed, with what was spent on it all the same."""
    spent = _spent(error.usage if isinstance(error, ReasoningExhausted) else None)
    images = outcome.images if isinstance(outcome, Refused) else ()
    fields = {"error_code": error.code, "error_message": error.message} | _seen(images) | _texts(spent)
    told = fallback.told(outcome)
    return jobs.settle(
        claim, Status.FAILED, outcome="failed", reason=error.code, attempt=spent, fields=fields, told=told
    )


def expire(jobs: Jobs, claim: Claim) -> bool:
    """Settle a job whose time is over."""
    message = "the job's deadline passed before it was done"
    fields = {"error_code": "deadline_exceeded", "error_message": message}
    return jobs.settle(claim, Status.EXPIRED, outcome="expired", reason="the job's deadline passed", fields=fields)


def _spent(usage: Usage | None) -> dict[str, Any]:
    return {"usage": usage.to_json()} if usage else {}


def _texts(said: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a record, which are texts."""
    return {name: json.dumps(value) for name, value in said.items()}


def _seen(images: Sequence[Receipt]) -> dict[str, str]:
    return {"images": json.dumps(images)} if images else {}
