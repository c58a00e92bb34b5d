"""What an attempt's outcome means for its place: whether its circuit counts it, and whether the job goes elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tasks import settings
from tasks.attempt import Completed, InternalError, Outcome, Postponed, ProcessTimeout, Refused
from tasks.domain.provider_errors import (
    AccessDenied,
    AuthenticationFailed,
    EngineAway,
    EngineError,
    EngineLost,
    EngineRefused,
    InvalidResponse,
    ModelNotFound,
    ModelRetired,
    PaymentRequired,
    RateLimited,
    ReasoningExhausted,
    TransientError,
    UnusableAnswer,
)
from tasks.serving import LOCAL
from tasks.store.circuits import KeyRefused, Shown, Told
from tasks.store.claim import Claim

#: A job that was present when an engine died this often runs alone in the engine next, or elsewhere.
ALONE_AFTER_LOSSES = 2
#: What a provider will never answer, for reasons of its own or of our account there: another one may.
OF_THE_PLACE = (
    AuthenticationFailed,
    PaymentRequired,
    AccessDenied,
    ModelNotFound,
    ModelRetired,
    InvalidResponse,
    EngineRefused,
)
#: What may work later and yet says nothing against the provider: its limits, an engine that is restarted anyway, and
#: faults of ours.
NEUTRAL = (RateLimited, EngineLost, EngineAway, InternalError)


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A job leaves its place: what its trail says of the attempt, and whether its process came through."""

    outcome: str
    reason: str
    survived: bool = True


def told(outcome: Outcome) -> Shown | None:
    """What the circuits of this place are told; None for what says more of the request, or of us.

    Thoughts without an answer, and an answer that cannot be used, are answers: the model is there. An engine that
    failed at this request and lives is there, too.
    """
    match outcome:
        case Completed() | Refused(error=ReasoningExhausted() | UnusableAnswer() | EngineRefused()):
            return Told.ANSWERED
        case Postponed(error=EngineError()):
            return Told.ANSWERED
        case Refused(error=error) if error.of_key:
            return KeyRefused(why=error.code)
        case Refused(error=InvalidResponse()):
            return Told.FAILED
        case Postponed(error=error) if not isinstance(error, (*NEUTRAL, ProcessTimeout)):
            return Told.AWAY if error.is_outage else Told.FAILED
    return None


def is_last_try(claim: Claim, error: Exception) -> bool:
    """Whether a failed try is the last one here. One that only tried an open circuit never is.

    A job that can go nowhere else sits an outage out, as long as its time for that lasts.
    """
    if claim.tries + 1 < claim.max_tries or not pays(claim, error):
        return False
    return bool(claim.places) or not is_outage(claim, error) or has_sat_out(claim)


def pays(claim: Claim, error: Exception) -> bool:
    """Whether a job is charged for a failed try. An open circuit makes jobs wait, so trying it costs nothing, unless
    the fault is the request's, or ours, or may be the request's and has lasted for long."""
    if not claim.is_probe or isinstance(error, InternalError | EngineError):
        return True
    return is_outage(claim, error) and may_be_own(error) and has_sat_out(claim)


def is_outage(claim: Claim, error: Exception) -> bool:
    """Whether a failure is of the provider as a whole, as far as can be seen. Engines of ours tell more of theirs."""
    if not isinstance(error, TransientError) or not error.is_outage or claim.provider == LOCAL:
        return False
    return not (claim.others_answered and error.may_be_own)


def may_be_own(error: Exception) -> bool:
    """Whether the request may have brought a failure about."""
    return isinstance(error, TransientError) and error.may_be_own


def has_sat_out(claim: Claim) -> bool:
    """Whether a job has tried for as long as it has to before an outage fails it."""
    return claim.failing_s + time.monotonic() - claim.asked_at >= settings.get().outage_s


def departure(claim: Claim, outcome: Outcome) -> Departure | None:
    """How a job leaves for its next place; None when it stays, or there is none."""
    if not claim.places:
        return None
    match outcome:
        case Refused(error=error) if isinstance(error, OF_THE_PLACE):
            return Departure(outcome="failed", reason=error.code)
        case Postponed(error=EngineLost() as error) if claim.engine_losses + 1 >= ALONE_AFTER_LOSSES:
            return Departure(outcome="engine_lost", reason=error.message)
        case Postponed(error=error) if not isinstance(error, NEUTRAL) and is_last_try(claim, error):
            survived = not isinstance(error, ProcessTimeout)
            return Departure(outcome="failed_try", reason=error.code, survived=survived)
    return None
