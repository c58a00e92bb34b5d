"""The steps of a batch: internal records like a job's, moved on by the same scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from redis import Redis

from tasks import settings
from tasks.domain.job import LONGEST_EXPIRES_IN_S
from tasks.store import connection, keys
from tasks.store.claim import owner
from tasks.store.message import Message, messages
from tasks.store.scripts import Scripts

PREFIX = "step_"
#: The queue of what is to be done for a batch beside its shards. Every worker serves it.
QUEUE = "batch"
#: A step outlives its batch's deadline, at which it has to end what is left.
KEEP_S = 2 * LONGEST_EXPIRES_IN_S
#: A step is never quarantined as a job is: what becomes of its batch is decided by whoever claims it next.
NO_LIMIT = 10**9
#: Items that one script looks at: a few milliseconds.
AT_ONCE = 200
#: Shards that one script lines up, holds or drops, at 40 to 60 µs each: at most 2 ms.
SHARDS_AT_ONCE = 25


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step in hand: `name` is expand, retry, shard or finish; `job_id` is its record's. `owner` is shown at every
    write. `suspect`: a worker that died alone had it. `crashes`: so many processes that ran nothing else died of it.
    """

    job_id: str
    fence: int
    batch_id: str
    name: str
    request: Mapping[str, Any]
    queue: str
    priority: int
    suspect: bool = False
    crashes: int = 0
    worker: str = ""

    @property
    def owner(self) -> str:
        """Whose the step is, as the scripts compare it with the record."""
        return owner(self.fence, self.worker)


def is_step(record_id: str) -> bool:
    """Whether this is the id of a step, not of a job."""
    return record_id.startswith(PREFIX)


def step_id(batch_id: str, name: str) -> str:
    """The step of this name; the scripts build the same."""
    return f"{PREFIX}{batch_id}_{name}"


class Steps:
    """The steps on one Redis. Every method raises Unavailable when Redis is away."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._scripts = Scripts(redis)
        self._ttl_s = ttl_s

    def claim(self, record_id: str, epoch: int, *, worker: str, lease_s: float) -> Step | None:
        """Take a step; None when the message is not the right one any more."""
        args = [record_id, epoch, worker, int(lease_s * 1000)]
        answer = self._scripts.call("claim_step", [keys.job(record_id)], args)
        if not answer:
            return None
        # It is claimed: what is wrong with its request is for whoever does it to find.
        request = {}
        with suppress(ValueError):
            request = json.loads(answer[3] or "{}")
        return Step(
            job_id=record_id,
            fence=int(answer[0]),
            batch_id=answer[1],
            name=answer[2],
            request=request,
            queue=answer[4],
            priority=int(answer[5]),
            suspect=answer[6] == "1",
            crashes=int(answer[7]),
            worker=worker,
        )

    def done(self, step: Step) -> bool:
        """The step is over. False when it is not the caller's any more."""
        return bool(self._leave(step, -1))

    def again(self, step: Step, *, delay_s: float = 0.0) -> list[Message] | None:
        """The step is to be looked at again: messages to send, or None when it is not the caller's any more."""
        answer = self._leave(step, int(delay_s * 1000))
        return messages(answer[1:]) if answer else None

    def crashed(self, step: Step, reason: str) -> list[Message] | None:
        """Charge a step with the death of the process that ran it alone, and line it up again: as `again`."""
        args = [step.job_id, step.owner, NO_LIMIT, self._ttl_s, reason]
        answer = self._scripts.call("charge_crash", [keys.job(step.job_id)], args)
        return messages(answer[1:]) if answer else None

    def _leave(self, step: Step, delay_ms: int) -> list[str]:
        args = [step.job_id, step.owner, self._ttl_s, delay_ms]
        return [str(part) for part in self._scripts.call("leave_step", [keys.job(step.job_id)], args)]

    def resend(self, record_id: str, epoch: int) -> list[Message]:
        """Line a step up again whose message was taken by somebody who will not run it."""
        return messages(self._scripts.call("resend", [keys.job(record_id)], [record_id, epoch]))


@cache
def default() -> Steps:
    """The steps on this process' Redis."""
    return Steps(connection.default(), ttl_s=settings.get().job_ttl_s)
