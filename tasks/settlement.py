"""Writes what came of an attempt into the job's record: settle it, or put it back."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from tasks import charges, endings, fallback, in_flight, learning, process, publish, settings
from tasks.attempt import Completed, Cut, Expired, InternalError, Outcome, Postponed, ProcessTimeout, Refused
from tasks.domain.errors import Unavailable
from tasks.domain.provider_errors import (
    EngineAway,
    EngineError,
    EngineLost,
    EngineRefused,
    RateLimited,
    TransientError,
)
from tasks.fallback import ALONE_AFTER_LOSSES, Departure
from tasks.providers import base
from tasks.providers.base import Call
from tasks.serving import Serving
from tasks.store import access, places
from tasks.store.claim import Claim
from tasks.store.jobs import Jobs
from tasks.store.message import Message
from tasks.store.rate import CallOver, Waiters

log = structlog.get_logger()
T = TypeVar("T")

#: An answer in hand is worth waiting for Redis; a lease that lapsed meanwhile is told by the fence.
PATIENCE_S, PAUSE_S = 600.0, 0.5
#: How long a job waits that found no engine: its worker stops consuming meanwhile.
ENGINE_AWAY_S = 1.0


def write(jobs: Jobs, claim: Claim, by: Serving, outcome: Outcome, call: Call | None = None) -> None:
    """Record the outcome and send what messages follow from it. Written twice it does nothing the second time.

    `call` tells quotas what was really sent. They come first: what is not written of a job is found by its lease.
    """
    outcome = _for_good(jobs, claim, outcome)
    # First what it tells of the model: a client that sees this job failed is not to get another one accepted.
    learning.note(by, claim.target, outcome)
    call_over(jobs, charges.of(claim, by, outcome, call))
    if (departure := fallback.departure(claim, outcome)) is not None:
        owned = patiently(lambda: _leave(jobs, claim, outcome, departure))
    else:
        owned = _stay(jobs, claim, by, outcome)
    log.info("attempt.ended", job_id=claim.job_id, n=claim.n, outcome=type(outcome).__name__, owned=owned)


def _for_good(jobs: Jobs, claim: Claim, outcome: Outcome) -> Outcome:
    """An engine that failed at a request twice alike is not asked a third time."""
    match outcome:
        case Postponed(error=EngineError(message=said)):
            [trail] = patiently(lambda: jobs.each([claim.job_id], "attempts"))
            if said in (one.get("reason") for one in json.loads(trail or "[]")):
                return Refused(error=EngineRefused(said))
    return outcome


def _stay(jobs: Jobs, claim: Claim, by: Serving, outcome: Outcome) -> bool:
    match outcome:
        case Completed():
            return patiently(lambda: endings.complete(jobs, claim, outcome))
        case Refused(error=error) if error.of_key:
            return patiently(lambda: _await_key(jobs, claim, outcome))
        case Refused(error=error):
            return patiently(lambda: endings.fail(jobs, claim, error, outcome))
        case Expired():
            return patiently(lambda: endings.expire(jobs, claim))
        case Postponed(error=error):
            return patiently(lambda: _postpone(jobs, claim, by, error, outcome))
        case Cut(why=in_flight.DRAIN):
            return release(jobs, claim)
        case Cut(why=base.NO_ROOM):
            return release(jobs, claim, reason="the provider's limits had no room when it was to be sent")
        case Cut():
            return False


def _leave(jobs: Jobs, claim: Claim, outcome: Outcome, departure: Departure) -> bool:
    log.info("job.moved_on", job_id=claim.job_id, n=claim.n, provider=claim.provider, why=departure.reason)
    back = places.move(
        jobs,
        claim,
        outcome=departure.outcome,
        reason=departure.reason,
        survived=departure.survived,
        told=fallback.told(outcome),
    )
    return _sent(back)


def patiently(write: Callable[[], T]) -> T:
    """Do a write as soon as Redis lets us. Raises Unavailable when it does not for PATIENCE_S."""
    for _ in range(int(PATIENCE_S / PAUSE_S)):
        try:
            return write()
        except Unavailable:
            threading.Event().wait(PAUSE_S)
    return write()


def call_over(jobs: Jobs, over: CallOver) -> None:
    """Tell the quotas that count a call what it came to. Said twice, the second time changes nothing."""
    if over.claim.scopes:
        let_go(patiently(lambda: jobs.call_over(over)))


def let_go(waiters: Waiters) -> None:
    """Send those that a limit lets go, and see to it that the next is not forgotten."""
    publish.send(waiters.messages)
    if waiters.next_in_s is not None:
        process.wait_for_limit(waiters.next_in_s)


def release(jobs: Jobs, claim: Claim, *, reason: str = "the worker was stopped", delay_s: float = 0.0) -> bool:
    """Give a job up uncharged: it lines up again at once, or after `delay_s`. False when it is not ours any more."""
    return _sent(patiently(lambda: jobs.put_back(claim, outcome="released", reason=reason, delay_s=delay_s)))


def charge(jobs: Jobs, claim: Claim, reason: str) -> bool:
    """Charge a job with the death of the process that ran it alone. False when it is not ours any more."""
    return _sent(patiently(lambda: jobs.charge_crash(claim, reason)))


def backoff_s(tries: int, retry_after_s: float | None) -> float:
    """Exponential with full jitter, capped; never before the provider's own hint."""
    here = settings.get()
    most = min(here.backoff_cap_s, here.backoff_s * 2.0**tries)
    return max(random.uniform(0.05, most), retry_after_s or 0.0)  # noqa: S311


def _postpone(jobs: Jobs, claim: Claim, by: Serving, error: TransientError, outcome: Postponed) -> bool:
    match error:
        case RateLimited():
            back = jobs.put_back(
                claim,
                outcome="rate_limited",
                reason=error.message,
                limit=charges.limit(claim, by, error),
                hold_s=charges.hold_s(error),
                survived=True,
            )
        case EngineAway():
            back = jobs.put_back(claim, outcome="engine_away", reason=error.message, delay_s=ENGINE_AWAY_S)
        case EngineLost() if claim.engine_losses >= ALONE_AFTER_LOSSES:
            back = jobs.charge_crash(claim, "the engine died while it served this job alone")
        case EngineLost():
            back = jobs.put_back(claim, outcome="engine_lost", reason=error.message, engine_lost=True, survived=True)
        case _ if fallback.is_last_try(claim, error):
            return endings.fail(jobs, claim, error, outcome)
        case _:
            back = jobs.put_back(
                claim,
                outcome="failed_try",
                # The engine's own words are compared with its next ones.
                reason=error.message if isinstance(error, EngineError) else error.code,
                delay_s=backoff_s(claim.tries, error.retry_after_s),
                charged=fallback.pays(claim, error),
                # A fault of ours may have come before the job was run at all, and a process that was killed did not
                # come through it: neither clears a suspect.
                survived=not isinstance(error, InternalError | ProcessTimeout),
                told=fallback.told(outcome),
            )
    return _sent(back)


def _await_key(jobs: Jobs, claim: Claim, outcome: Refused) -> bool:
    match access.wait(jobs, claim, why=outcome.error.code):
        case access.Waits.OF_MODEL:
            return endings.fail(jobs, claim, outcome.error, outcome)
        case how:
            return how is access.Waits.WAITS


def _sent(messages: list[Message] | None) -> bool:
    publish.send(messages or ())
    return messages is not None
