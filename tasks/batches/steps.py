"""Moves a step of a batch on: claims it, does it, and says what comes next."""

from __future__ import annotations

import os
from collections.abc import Callable

import structlog

from tasks import in_flight, isolation, process, publish, settings
from tasks.batches import again, conclude, expand, shard
from tasks.domain.errors import CallCut, Unavailable
from tasks.process import WorkerProcess
from tasks.providers import base
from tasks.providers.base import Call
from tasks.store import batch_work, steps
from tasks.store.jobs import CRASHES_TO_QUARANTINE
from tasks.store.steps import Step

log = structlog.get_logger()

#: A step that found nobody for an item, or broke, is looked at again after this.
AGAIN_S = 2.0
#: What is over once it has been done; the last step is not: it looks until the batch has ended.
STEPS: dict[str, Callable[[Step, Call], bool]] = {"expand": expand.run, "retry": again.run, "shard": shard.run}
#: One that goes on killing its process though its batch was spared what it can be is looked at again after this.
GIVEN_UP_S = 60.0
QUARANTINED = "quarantined"
#: No step has a deadline: its batch has.
ENDLESS_S = 10 * 365 * 24 * 3600.0
#: One that runs in a child process has this time for whatever it does between two signs of progress. Reading 50,000
#: lines takes a minute, and all else less.
ISOLATED_S = 600.0


def run(record_id: str, epoch: int) -> None:
    """Look at a step. Safe to call twice: only the message whose epoch wins the claim does anything."""
    here = process.here()
    try:
        with here.in_flight.looking():
            if here.draining.is_set():
                publish.send(steps.default().resend(record_id, epoch))
                return
            step = steps.default().claim(record_id, epoch, worker=here.name, lease_s=settings.get().lease_s)
            if step is not None:
                _run(here, step)
    except Unavailable as error:
        # Not claimed, or its lease will lapse: either way the sweep finds it.
        log.warning("step.without_redis", step=record_id, why=error.message)


def _run(here: WorkerProcess, step: Step) -> None:
    # What kills the process of a shard are its items, which are suspects one by one.
    if step.suspect and step.name != "shard":
        _isolate(here, step)
        return
    handle = Call(request_id=step.job_id, timeout_s=ENDLESS_S)
    with here.in_flight.holding(step, handle):
        _do(step, handle)


def _do(step: Step, handle: Call) -> None:
    try:
        if step.name == "finish":
            _finish(step)
        elif STEPS[step.name](step, handle):
            steps.default().done(step)
        else:
            publish.send(steps.default().again(step, delay_s=AGAIN_S) or ())
    except CallCut as cut:
        if cut.why == in_flight.DRAIN:
            publish.send(steps.default().again(step) or ())
    except Unavailable:
        raise
    except BaseException as error:
        log.exception("step.broke", step=step.job_id, error=type(error).__name__)
        publish.send(steps.default().again(step, delay_s=AGAIN_S) or ())


def _isolate(here: WorkerProcess, step: Step) -> None:
    """Do it in a child process: one that kills or silences its process takes no worker along again."""
    handle = isolation.IsolatedCall(request_id=step.job_id, timeout_s=ISOLATED_S)
    with here.in_flight.holding(step, handle):
        if step.crashes >= CRASHES_TO_QUARANTINE and _give_up(step):
            return
        before = _progress(step)
        status = isolation.in_child(_child, (step,), handle)
        match handle.why_cut:
            case in_flight.DRAIN:
                publish.send(steps.default().again(step) or ())
            case base.DEADLINE if _progress(step) != before:
                publish.send(steps.default().again(step) or ())
            case base.DEADLINE:
                _charge(step, f"its own process did not end within {ISOLATED_S:g} s")
            case None if status == isolation.SERVER_GONE:
                publish.send(steps.default().again(step, delay_s=AGAIN_S) or ())
            case None if status not in (0, isolation.UNWRITTEN):
                _charge(step, f"its own process ended with {status}")


def _progress(step: Step) -> tuple[int, int] | None:
    """How far a step has come that goes on where it was broken off."""
    plan = batch_work.default().plan(step.batch_id)
    return (plan.expanded, plan.reset_lines) if plan else None


def _charge(step: Step, why: str) -> None:
    log.warning("step.crashed", step=step.job_id, why=why, crashes=step.crashes + 1)
    if step.crashes < CRASHES_TO_QUARANTINE:
        publish.send(steps.default().crashed(step, why) or ())
    else:
        publish.send(steps.default().again(step, delay_s=GIVEN_UP_S) or ())


def _give_up(step: Step) -> bool:
    """Spare the batch what its step died of. Returns whether the step is over."""
    why = f"the process that did this alone died of it, or did not end, {step.crashes} times"
    if step.name == "finish":
        # Of all that it does only the job over the results is a client's. If that was not it, it is tried now and then.
        batch_work.default().set_last(step.batch_id, error={"code": QUARANTINED, "message": why})
        return False
    conclude.give_up(step.batch_id, code=QUARANTINED, why=why)
    return steps.default().done(step)


def _child(step: Step) -> None:
    isolation.begin_child()
    try:
        _do(step, Call(request_id=step.job_id, timeout_s=ENDLESS_S))
    except Unavailable:
        log.warning("step.without_redis", step=step.job_id)
        os._exit(isolation.UNWRITTEN)


def _finish(step: Step) -> None:
    try:
        while not conclude.look(step.batch_id):
            if batch_work.default().rest(step):
                return
    except Unavailable:
        # Nobody is there for the job over its results, or Redis is away: then this fails, too.
        batch_work.default().rest(step, delay_s=AGAIN_S)
        return
    steps.default().done(step)
