"""One attempt of one job: claim it, run it here or in a child of its own, record what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import structlog

from tasks import attempt, isolation, process, publish, settings, settlement
from tasks.attempt import Completed, Postponed, Refused, UnreadableRecord
from tasks.domain.errors import Unavailable
from tasks.domain.provider_errors import EngineAway, EngineLost
from tasks.fallback import ALONE_AFTER_LOSSES
from tasks.process import WorkerProcess
from tasks.providers.base import Call
from tasks.serving import LOCAL, Serving
from tasks.store import jobs
from tasks.store.claim import Claim, Taker
from tasks.store.taken import Taken

log = structlog.get_logger()


def run(job_id: str, epoch: int) -> None:
    """Look at a job. Safe to call twice: only the message whose epoch wins the claim does anything."""
    here = process.here()
    try:
        with here.in_flight.looking(single=True):
            if here.draining.is_set():
                publish.send(jobs.default().resend(job_id, epoch))
            else:
                _run(here, job_id, epoch)
    except Unavailable:
        # Not claimed, or its lease will lapse: either way the sweep finds the job.
        log.warning("execution.without_redis", job_id=job_id)


def claim_items(items: Sequence[tuple[str, int]]) -> list[Claim]:
    """Claim items of a batch, (job id, epoch) each; those that are not to be run now, or cannot be, are left out.

    Raises Unavailable when none could be asked for.
    """
    found = jobs.default().take_each(items, _taker(process.here(), may_isolate=False, may_be_alone=False))
    claims = [claim for (job_id, _), one in zip(items, found, strict=True) if (claim := _item(job_id, one)) is not None]
    if not claims and isinstance(found[0], Unavailable):
        raise found[0]
    return claims


def _item(job_id: str, found: Taken | Exception) -> Claim | None:
    if isinstance(found, Exception):
        log.warning("execution.claim_failed", job_id=job_id, error=type(found).__name__)
        return None
    settlement.let_go(found.waiters)
    return found.claim


def run_item(claim: Claim) -> None:
    """One attempt of an item that was claimed."""
    here = process.here()
    try:
        with here.in_flight.looking():
            _attempt_or_charge(here, claim)
    except Unavailable:
        log.warning("execution.without_redis", job_id=claim.job_id)


def _taker(here: WorkerProcess, *, may_isolate: bool, may_be_alone: bool) -> Taker:
    servings = [(one.queue, one.provider, one.target) for one in here.servings]
    has_engine = any(one.provider == LOCAL for one in here.servings)
    return Taker(
        worker=here.name,
        lease_s=settings.get().lease_s,
        servings=servings,
        may_isolate=may_isolate,
        alone_from=ALONE_AFTER_LOSSES if has_engine and not may_be_alone else None,
    )


def _run(here: WorkerProcess, job_id: str, epoch: int) -> None:
    isolated, alone = here.isolation.acquire(blocking=False), here.engine_turn.book()
    try:
        claim = _claim(here, job_id, epoch, may_isolate=isolated, may_be_alone=alone)
        if isolated and (claim is None or not claim.suspect):
            here.isolation.release()
            isolated = False
        if alone and (claim is None or not _is_alone(claim)):
            here.engine_turn.unbook()
            alone = False
        if claim is not None:
            _attempt_or_charge(here, claim)
    finally:
        if isolated:
            here.isolation.release()
        if alone:
            here.engine_turn.unbook()


def _claim(here: WorkerProcess, job_id: str, epoch: int, *, may_isolate: bool, may_be_alone: bool) -> Claim | None:
    taker = _taker(here, may_isolate=may_isolate, may_be_alone=may_be_alone)
    taken = jobs.default().take(job_id, epoch, taker)
    settlement.let_go(taken.waiters)
    return taken.claim


def _attempt_or_charge(here: WorkerProcess, claim: Claim) -> None:
    try:
        if claim.fault:
            _fail(here, claim)
        else:
            _attempt(here, claim)
    except Unavailable:
        raise
    except BaseException as error:
        # A fault of ours is charged to the job: uncharged it would come back for ever.
        log.exception("execution.broke", job_id=claim.job_id, error=type(error).__name__)
        settlement.write(jobs.default(), claim, here.servings[0], attempt.broken(error))


def _fail(here: WorkerProcess, claim: Claim) -> None:
    log.error("execution.unreadable", job_id=claim.job_id, why=claim.fault)
    error = UnreadableRecord(f"the record of this job cannot be read: {claim.fault}")
    settlement.write(jobs.default(), claim, here.servings[0], Refused(error=error))


def _attempt(here: WorkerProcess, claim: Claim) -> None:
    by = here.serving(claim.queue)
    if by is None or not by.base_url:
        settlement.release(jobs.default(), claim, reason="the engine is not up", delay_s=settlement.ENGINE_AWAY_S)
    elif claim.suspect:
        isolated = isolation.IsolatedCall.of(claim)
        with here.in_flight.holding(claim, isolated), _turn(here, claim, isolated):
            isolation.run(claim, by, isolated)
    else:
        call = attempt.new_call(claim)
        with here.in_flight.holding(claim, call), _turn(here, claim, call):
            _ask(here, claim, by, call)


def _ask(here: WorkerProcess, claim: Claim, by: Serving, call: Call) -> None:
    outcome = attempt.run(claim, by, call)
    if isinstance(outcome, Postponed) and isinstance(outcome.error, EngineLost | EngineAway):
        here.on_engine_lost()
    elif isinstance(outcome, Completed):
        here.on_engine_answer()
    settlement.write(jobs.default(), claim, by, outcome, call)


def _turn(here: WorkerProcess, claim: Claim, call: Call) -> AbstractContextManager[None]:
    if claim.provider != LOCAL:
        return nullcontext()
    return here.engine_turn.alone(call) if _is_alone(claim) else here.engine_turn.shared(call)


def _is_alone(claim: Claim) -> bool:
    """Whether a job has the engine to itself."""
    return claim.provider == LOCAL and claim.engine_losses >= ALONE_AFTER_LOSSES
