"""Learns of models from what calls come to: who answers, who is overloaded, what is retired."""

from __future__ import annotations

import structlog

from tasks.attempt import Completed, Outcome, Postponed, Refused
from tasks.domain.errors import Unavailable
from tasks.domain.provider_errors import ModelNotFound, ModelRetired, ProviderOverloaded
from tasks.domain.standing import Lesson, State
from tasks.serving import LOCAL, Serving
from tasks.store import learned

log = structlog.get_logger()


def note(by: Serving, model: str, outcome: Outcome) -> None:
    """Remember what an attempt's outcome tells of `model` (the provider's id). Redis away: the next call will tell."""
    lesson = lesson_of(outcome)
    if lesson is None or by.provider == LOCAL:  # engines of ours speak for themselves, in the fleet
        return
    try:
        if learned.default().note(by.provider, model, lesson) and lesson.state is State.RETIRED:
            failed = learned.default().fail_queued(by.provider, model, queue=by.queue, is_default=model == by.target)
            log.warning("model.retired", provider=by.provider, model=model, on=lesson.retired_on, jobs_failed=failed)
    except Unavailable:
        log.warning("learning.without_redis", provider=by.provider, model=model)


def lesson_of(outcome: Outcome) -> Lesson | None:
    """What an outcome tells of its model; None for what says more of the job, the key or the network."""
    match outcome:
        case Completed():
            return Lesson(state=State.CALLABLE)
        case Refused(error=ModelRetired() as error):
            return Lesson(state=State.RETIRED, retired_on=error.retired_on, why=error.message)
        case Refused(error=ModelNotFound()):
            return Lesson(state=State.NOT_ENTITLED)
        case Postponed(error=ProviderOverloaded()):
            return Lesson(state=State.OVERLOADED)
    return None
