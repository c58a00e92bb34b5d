"""What a provider's limits are charged for an attempt: how often it was sent, what it took, whether it was refused."""

from __future__ import annotations

from functools import partial
from typing import Any

from tasks import settings
from tasks.attempt import Completed, Outcome, Postponed, Refused, UnreadableRecord
from tasks.domain.provider_errors import (
    InvalidResponse,
    ProviderOverloaded,
    RateLimited,
    ReasoningExhausted,
    Unreachable,
)
from tasks.domain.quota import scope
from tasks.domain.result import Usage
from tasks.providers.base import Call
from tasks.serving import Serving
from tasks.store.claim import Claim
from tasks.store.rate import CallOver, Ended


def of(claim: Claim, by: Serving, outcome: Outcome, call: Call | None) -> CallOver:
    """What this attempt is charged. Without its call it counts as sent once, just now."""
    # Further requests that were booked one by one count already.
    sends, sent_s = (1, None) if call is None else (max(0, call.sends - call.booked), _sent_s(claim, call))
    over = partial(CallOver, claim=claim, sent_s=sent_s)
    match outcome:
        case Completed(completion=answer):
            return over(ended=Ended.ANSWERED, sends=sends, **_taken(answer.usage))
        case Postponed(error=RateLimited() as error):
            # Providers do not count what they refuse; what was sent before it they do.
            tokens = 0 if call is None or call.sends <= 1 else None
            return over(
                ended=Ended.REFUSED,
                sends=max(0, sends - 1),
                tokens=tokens,
                limit=limit(claim, by, error),
                hold_s=hold_s(error),
            )
        case Postponed(error=Unreachable()):
            return over(ended=Ended.FAILED, sends=max(0, sends - 1), tokens=0)
        case Postponed(error=ProviderOverloaded()):
            return over(ended=Ended.ANSWERED, sends=sends, tokens=0)
        case Refused(error=UnreadableRecord()):
            return CallOver(claim=claim, ended=Ended.FAILED, sends=0, tokens=0)
        case Refused(error=ReasoningExhausted(usage=Usage() as used)):
            return over(ended=Ended.ANSWERED, sends=sends, **_taken(used))
        case Refused(error=error) if error.of_key:
            # It tells nothing of how many are let through.
            return over(ended=Ended.FAILED, sends=sends, tokens=0)
        case Refused(error=error):
            # An HTTP error takes no tokens; an answer that is none, or thoughts that were not counted, may have.
            tokens = None if isinstance(error, InvalidResponse | ReasoningExhausted) else 0
            return over(ended=Ended.ANSWERED, sends=sends, tokens=tokens)
        case _:
            return over(ended=Ended.FAILED, sends=sends)


def unknown(claim: Claim) -> CallOver:
    """For a call whose process is gone: it counts as sent just now, with all the tokens that were booked."""
    return CallOver(claim=claim, ended=Ended.FAILED)


def limit(claim: Claim, by: Serving, error: RateLimited) -> str:
    """The limit that a refusal holds: the provider's key, or the model's where it says so, or only that has a quota."""
    if error.of_model:
        return scope(by.provider, claim.target)
    return by.provider if by.provider in claim.scopes or not claim.scopes else claim.scopes[-1]


def hold_s(error: RateLimited) -> float:
    """How long a refusal holds everybody: as the provider says, else a whole window (NIM's 429 often says nothing), up
    to the cap; then one call asks again."""
    here = settings.get()
    return min(here.limit_window_s if error.retry_after_s is None else error.retry_after_s, here.hold_cap_s)


def _taken(usage: Usage | None) -> dict[str, Any]:
    """The tokens of an answer, as far as its provider told them."""
    return {} if usage is None else {"tokens": usage.total_tokens, "answer_tokens": usage.completion_tokens}


def _sent_s(claim: Claim, call: Call) -> float | None:
    return None if call.sent_at is None else max(0.0, call.sent_at - claim.asked_at)
