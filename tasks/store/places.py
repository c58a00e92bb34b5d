"""Where else a job may be answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from tasks.store import keys
from tasks.store.circuits import Shown
from tasks.store.claim import Claim
from tasks.store.jobs import Jobs
from tasks.store.message import Message, messages


@dataclass(frozen=True)
class Place:
    """A queue, who answers there, what is asked for there ("": the default), and the provider's id of that model."""

    queue: str
    provider: str
    target: str
    model: str


def fields(places: Sequence[Place], *, patience_s: float | None = None) -> dict[str, str]:
    """What a record says of the places of a job, the first being where it is; nothing when there is no other.

    `patience_s`: it waits there for an engine that is not ready, for so long.
    """
    if len(places) < 2:
        return {}
    patience = {} if patience_s is None else {"patience": str(int(patience_s * 1000))}
    return {"routes": json.dumps([astuple(place) for place in places])} | patience


def move(
    jobs: Jobs,
    claim: Claim,
    *,
    outcome: str,
    reason: str,
    survived: bool = True,
    attempt: Mapping[str, Any] | None = None,
    told: Shown | None = None,
) -> list[Message] | None:
    """Move a job on to its next place: the message to send, or None when it is not the caller's any more.

    To be called only for a claim that has further places. Its tries begin anew. Raises Unavailable.
    """
    more = json.dumps(attempt) if attempt else ""
    args = [claim.job_id, claim.owner, outcome, reason, more, int(survived), jobs.breaker.word(claim, told)]
    answer = jobs.scripts.call("move", [keys.job(claim.job_id)], args)
    return messages(answer) if answer else None
