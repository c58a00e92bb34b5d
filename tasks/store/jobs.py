"""The records of jobs: accept, claim, settle, put back, cancel, erase, find, list."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from redis import Redis

from tasks import quotas, settings
from tasks.domain.errors import IdempotencyMismatch, ModelGone
from tasks.domain.job import Job, Status
from tasks.store import connection, earlier, keys, record
from tasks.store.circuits import DEFAULT, Breaker, Shown
from tasks.store.claim import Claim, Taker
from tasks.store.listing import Listing, Look
from tasks.store.message import Message, messages
from tasks.store.new_job import Accepted, NewJob
from tasks.store.rate import CallOver, Waiters, let_go
from tasks.store.scripts import Scripts, renamed
from tasks.store.taken import Taken, taken
from tasks.store.together import Together

#: How long a repeated DELETE is still answered like the first.
ERASED_KEPT_S = 3600
#: Records read at once with their results: each may have a megabyte.
RESULTS_AT_ONCE = 20
#: Two deaths of a process that ran nothing else are no accident.
CRASHES_TO_QUARANTINE = 2


class Jobs:
    """The records of jobs on one Redis. Every method raises Unavailable when Redis is away or full.

    `policy` is what quotas.policy says of the providers' limits, `breaker` when a circuit opens.
    """

    def __init__(self, redis: Redis, *, ttl_s: int, policy: str = "", breaker: Breaker = DEFAULT) -> None:
        self.redis = redis
        self.scripts = Scripts(redis)
        self._settling = Together(self.scripts, "settle")
        self.ttl_s = ttl_s
        self.policy = policy
        self.breaker = breaker

    # ---- the client's side ----

    def accept(self, new: NewJob) -> Accepted:
        """Write a job's record, idempotency key and watcher in one step. May be called again with the same job.

        Raises IdempotencyMismatch when the key was used with another payload, ModelGone when its model is retired.
        """
        answer = self.scripts.call("accept", new.keys(), new.args(self.ttl_s))
        if answer[0] == "mismatch":
            raise IdempotencyMismatch("this idempotency key was used with another payload", field="idempotency_key")
        if answer[0] == "retired":
            raise ModelGone(new.fields["model"], answer[1])
        if answer[0] == "replayed":
            return Accepted(job_id=answer[1], replayed=True)
        if answer[0] in ("hit", "following"):
            return Accepted(job_id=new.job_id, shares=True, lifted=tuple(messages(answer[2:])))
        return Accepted(job_id=new.job_id, created_ms=int(answer[2]), expires_ms=int(answer[3]), unsent=str(answer[4]))

    def accepted_before(self, owner: str, key: str, fingerprint: str) -> str | None:
        """The id of the job that this idempotency key and payload were accepted with, if there is one still.

        Raises IdempotencyMismatch.
        """
        found = earlier.first(self.redis, "job", owner, key)
        return found.id_for(fingerprint) if found else None

    def find(self, job_id: str, owner: str) -> Job | None:
        """The job as its owner sees it; None when there is none, or it is somebody else's."""
        with renamed():
            values = cast(list[str | None], self.redis.hmget(keys.job(job_id), record.VISIBLE))
        # By its owner first: a batch's steps are no jobs, and have none.
        return record.job(job_id, dict(zip(record.VISIBLE, values, strict=True))) if values[0] == owner else None

    def items(self, ids: Sequence[str], owner: str) -> list[tuple[str, Job]]:
        """Items of a batch of this owner that are still there, each with its custom_id."""
        names = ["custom_id", *record.VISIBLE]
        with renamed():
            pipe = self.redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.hmget(keys.job(job_id), names)
            rows = pipe.execute()
        found = ((row[0], i, dict(zip(record.VISIBLE, row[1:], strict=True))) for i, row in zip(ids, rows, strict=True))
        read = [(name, record.job(i, values)) for name, i, values in found if values["owner"] == owner]
        return [(name, job) for name, job in read if job is not None]

    def each(self, ids: Sequence[str], field: str) -> list[str | None]:
        """One field of each of some records; None of one that is not there."""
        with renamed():
            pipe = self.redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.hget(keys.job(job_id), field)
            return cast(list[str | None], pipe.execute())

    def page(
        self, owner: str, *, status: Status | None, model: str | None, limit: int, after: str | None
    ) -> tuple[list[Job], bool]:
        """An owner's jobs, newest first, from behind `after`; and whether there are more."""
        with renamed():
            lists = Listing(self.redis, self.scripts, owner, ttl_s=self.ttl_s)
            return lists.page(status=status, model=model, limit=limit, after=after)

    def look_at(self, ids: Sequence[str]) -> list[tuple[str, Look]]:
        """The states of some jobs, each with the job; those that are not there are left out."""
        said = self.scripts.call("look_at_jobs", [], ids)
        looks = zip(said[::2], ids, said[1::2], strict=True)
        return [(status, Look(job_id, int(size))) for status, job_id, size in looks if status]

    def cancel(self, job_id: str, owner: str) -> bool:
        """Cancel a job unless it is over. False when this owner has no such job."""
        return int(self.scripts.call("cancel", [keys.job(job_id)], [job_id, owner, self.ttl_s])) >= 0

    def erase(self, job_id: str, owner: str) -> bool:
        """Erase a job's record, cancelling it first. False when this owner has, and lately had, no such job."""
        names = [keys.job(job_id), keys.owner_jobs(owner), keys.erased(job_id)]
        return bool(self.scripts.call("erase", names, [job_id, owner, ERASED_KEPT_S]))

    # ---- the worker's side ----

    def take(self, job_id: str, epoch: int, taker: Taker) -> Taken:
        """Take a job for one attempt: no claim when the message is not the right one any more, or the job must wait.

        A job that must wait for a limit may let others go, whose messages are then to be sent.
        """
        asked_at = time.monotonic()
        answer = self.scripts.call("claim", [keys.job(job_id)], taker.args(job_id, epoch, self.ttl_s, self.policy))
        return taken(job_id, answer, worker=taker.worker, asked_at=asked_at)

    def take_each(self, wanted: Sequence[tuple[str, int]], taker: Taker) -> list[Taken | Exception]:
        """The same for several jobs, (id, epoch) each, in one round trip; for one of which it failed, the error."""
        asked_at = time.monotonic()
        calls = [([keys.job(i)], taker.args(i, epoch, self.ttl_s, self.policy)) for i, epoch in wanted]
        answers = self.scripts.answers("claim", calls)
        told = zip(wanted, answers, strict=True)
        return [_taken(i, answer, taker.worker, asked_at) for (i, _), answer in told]

    def book_further(self, claim: Claim, number: int) -> float:
        """Book room for the call's further request of this number: the seconds until it may be sent, and 0 for now.

        Asked again after so long, it may have been put off.
        """
        args = [self.policy, claim.call_id, number, *claim.scopes]
        return int(self.scripts.call("book_further", [], args)) / 1000

    def book_sending(self, claim: Claim, *, counted_s: float) -> bool:
        """Let the claim's call count from now on; it has since `counted_s` after the claim. Whether it has room."""
        since_ms = claim.claimed_ms + int(counted_s * 1000)
        return bool(self.scripts.call("book_sending", [], [self.policy, claim.call_id, since_ms, *claim.scopes]))

    def call_over(self, over: CallOver) -> Waiters:
        """Say what a call that quotas count came to. Said twice, the second time counts nothing."""
        return let_go(self.scripts.call("call_over", [], [self.policy, *over.args()]))

    def settle(
        self,
        claim: Claim,
        status: Status,
        *,
        outcome: str,
        reason: str = "",
        attempt: Mapping[str, Any] | None = None,
        fields: Mapping[str, str] | None = None,
        told: Shown | None = None,
    ) -> bool:
        """End a job. False when it is not the caller's any more: nothing was written.

        `told` is what its call has shown of the circuit.
        """
        more = json.dumps(attempt) if attempt else ""
        pairs = [part for pair in (fields or {}).items() for part in pair]
        word = self.breaker.word(claim, told)
        args = [claim.job_id, claim.owner, status.value, self.ttl_s, outcome, reason, more, word, *pairs]
        return bool(self._settling.call([keys.job(claim.job_id)], args))

    def put_back(
        self,
        claim: Claim,
        *,
        outcome: str,
        reason: str,
        delay_s: float = 0.0,
        charged: bool = False,
        limit: str = "",
        hold_s: float = 0.0,
        engine_lost: bool = False,
        survived: bool = False,
        told: Shown | None = None,
    ) -> list[Message] | None:
        """Let a job wait or line up again: the messages to send, or None when it is not the caller's any more.

        With `limit`, the job is parked behind that limit and the limit holds everybody for `hold_s`. `survived` says
        that its process came through a try: a suspect is none any more. `told` is what its call has shown of the
        circuit.
        """
        wait = [int(delay_s * 1000), limit, int(hold_s * 1000)]
        counted = [int(charged), int(engine_lost), int(survived), self.ttl_s, self.breaker.word(claim, told)]
        args = [claim.job_id, claim.owner, *wait, outcome, reason, *counted]
        answer = self.scripts.call("put_back", [keys.job(claim.job_id)], args)
        return messages(answer[1:]) if answer else None

    def charge_crash(self, claim: Claim, reason: str) -> list[Message] | None:
        """Charge a job with the death of the process that ran it alone: the messages to send, or None as above."""
        args = [claim.job_id, claim.owner, CRASHES_TO_QUARANTINE, self.ttl_s, reason]
        answer = self.scripts.call("charge_crash", [keys.job(claim.job_id)], args)
        return messages(answer[1:]) if answer else None

    def resend(self, job_id: str, epoch: int) -> list[Message]:
        """Line a job up again whose message was taken by somebody who will not run it."""
        return messages(self.scripts.call("resend", [keys.job(job_id)], [job_id, epoch]))


def _taken(job_id: str, answer: Any, worker: str, asked_at: float) -> Taken | Exception:
    if isinstance(answer, Exception):
        return answer
    try:
        return taken(job_id, answer, worker=worker, asked_at=asked_at)
    except Exception as error:  # a record that cannot be read
        return error


@cache
def default() -> Jobs:
    """The records on this process' Redis."""
    here = settings.get()
    return Jobs(connection.default(), ttl_s=here.job_ttl_s, policy=quotas.policy(here), breaker=Breaker.of(here))
