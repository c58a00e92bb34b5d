"""Moves a step of a batch on: claims it, does it, and says what comes next."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tasks import process, publish, settings
from tasks.batches import again, conclude, expand, shard
from tasks.domain.errors import CallCut, Unavailable
from tasks.in_flight import DRAIN
from tasks.process import WorkerProcess
from tasks.providers.base import Call
from tasks.store import batch_work, steps
from tasks.store.steps import Step

log = structlog.get_logger()

#: A step that found nobody for an item, or broke, is looked at again after this.
AGAIN_S = 2.0
#: What is over once it has been done; the last step is not: it looks until the batch has ended.
STEPS: dict[str, Callable[[Step, Call], bool]] = {"expand": expand.run, "retry": again.run, "shard": shard.run}
#: No step has a deadline: its batch has.
ENDLESS_S = 10 * 365 * 24 * 3600.0


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
    handle = Call(request_id=step.job_id, timeout_s=ENDLESS_S)
    try:
        with here.in_flight.holding(step, handle):
            if step.name == "finish":
                _finish(step)
            elif STEPS[step.name](step, handle):
                steps.default().done(step)
            else:
                publish.send(steps.default().again(step, delay_s=AGAIN_S) or ())
    except CallCut as cut:
        if cut.why == DRAIN:
            publish.send(steps.default().again(step) or ())
    except Unavailable:
        raise
    except BaseException as error:
        log.exception("step.broke", step=step.job_id, error=type(error).__name__)
        publish.send(steps.default().again(step, delay_s=AGAIN_S) or ())


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
