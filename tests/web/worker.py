"""A worker's part, played by the test on the store itself."""

from __future__ import annotations

import json
from typing import Any

from tasks.domain.job import Status
from tasks.store import jobs
from tasks.store.claim import Claim, Taker

RESULT: dict[str, Any] = {"content": "hello", "reasoning": None, "tool_calls": [], "finish_reason": "stop"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


def claim(job_id: str) -> Claim:
    """Take a job that was just accepted."""
    servings = [("api.sandbox", "sandbox", "some/model"), ("api", "nim", "some/model")]
    taken = jobs.default().take(job_id, 0, Taker(worker="w1", lease_s=60, may_isolate=False, servings=servings)).claim
    assert taken is not None
    return taken


def complete(job_id: str) -> None:
    """Answer a job that was just accepted."""
    fields = {"result": json.dumps(RESULT), "usage": json.dumps(USAGE)}
    taken = claim(job_id)
    assert jobs.default().settle(taken, Status.COMPLETED, outcome="completed", attempt={"usage": USAGE}, fields=fields)
