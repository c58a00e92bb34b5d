"""What came of a message: a job in hand, or who may go instead of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.store.claim import Claim, claimed
from tasks.store.rate import Waiters, let_go


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a message led to: a claim, or who may go instead of a job that must wait for a limit."""

    claim: Claim | None = None
    waiters: Waiters = field(default_factory=Waiters)


def taken(job_id: str, answer: Sequence[Any], *, worker: str, asked_at: float) -> Taken:
    """What the script `claim` answered."""
    if answer[0] == "held":
        return Taken(waiters=let_go(answer[1:]))
    if answer[0] == "claimed":
        return Taken(claim=claimed(job_id, answer[1:], worker=worker, asked_at=asked_at))
    return Taken()
