"""One call of a provider for a claimed job, and what came of it. Of Redis it reads images, and asks limits for room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from tasks import catalog, quotas, serving, settings, vision
from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.errors import CallCut, Unavailable
from tasks.domain.job import Kind
from tasks.domain.provider_errors import (
    BadRequest,
    ContextTooLong,
    PermanentError,
    ProviderTimeout,
    ReasoningExhausted,
    TransientError,
)
from tasks.domain.request import ChatRequest
from tasks.domain.result import ChatResult, Completion, Usage
from tasks.providers.base import DEADLINE, Call, Provider
from tasks.serving import Serving
from tasks.store import jobs
from tasks.store.claim import Claim

log = structlog.get_logger()

#: How long a deadline may be early, for clocks are read on two machines.
DEADLINE_SLACK_S = 0.5
#: How often a call that waits for Redis looks again.
PAUSE_S = 0.5


class InternalError(TransientError):
    """A fault of our own. It is charged, so that it cannot go on for ever."""

    code = "internal_error"


class UnreadableRecord(PermanentError):
    """A record that was claimed and cannot be read: damaged, or of a version that says nothing of itself."""

    code = "internal_error"


class ProcessTimeout(ProviderTimeout):
    """A job's own process was ended when its call's time was up: the provider was silent, or the process itself."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The provider answered."""

    completion: Completion[Any]
    images: Sequence[vision.Receipt] = ()


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The provider will never answer this."""

    error: PermanentError
    images: Sequence[vision.Receipt] = ()


@dataclass(frozen=True, kw_only=True)
class Postponed:
    """It may work later."""

    error: TransientError


@dataclass(frozen=True, kw_only=True)
class Expired:
    """The job's own deadline passed."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """We ended the call ourselves: to drain, or because the job is not ours any more."""

    why: str


Outcome = Completed | Refused | Postponed | Expired | Cut


def new_call(claim: Claim) -> Call:
    """The handle of this attempt's call; its time ends with the job's deadline at the latest."""
    timeout_s = min(settings.get().call_timeout_s, claim.left_s)
    return Call(request_id=f"{claim.job_id}.{claim.n}", timeout_s=timeout_s, priority=claim.priority)


def run(claim: Claim, by: Serving, call: Call) -> Outcome:
    """Ask the provider once. Never raises: whatever goes wrong is an outcome."""
    images: list[vision.Receipt] = []
    try:
        if claim.scopes:
            call.book_further = partial(_book_further, claim)
            call.book_sending = partial(_book_sending, claim, call)
            call.counted_at = claim.asked_at
            call.late_after_s = quotas.arrival_s(settings.get()) / 2
        provider = serving.provider(by.provider, by.base_url, by.api_key)
        request = Kind(claim.kind).read(claim.request)
        if isinstance(request, EmbeddingRequest):
            return Completed(completion=provider.embed(claim.target, request, call))
        if request.images():
            request, images = vision.prepared(request, provider=by.provider, model=claim.target, call=call)
        return Completed(completion=_complete(provider, claim.target, request, call), images=images)
    except CallCut as cut:
        return outcome_of_cut(claim, cut.why)
    except TransientError as error:
        return Postponed(error=error)
    except PermanentError as error:
        return Refused(error=error, images=images)
    except BaseException as error:
        log.exception("attempt.broke", job_id=claim.job_id, error=type(error).__name__)
        return broken(error)


def _book_further(claim: Claim, number: int) -> float:
    try:
        return jobs.default().book_further(claim, number)
    except Unavailable:
        return PAUSE_S


def _book_sending(claim: Claim, call: Call) -> bool:
    try:
        return jobs.default().book_sending(claim, counted_s=call.counted_at - claim.asked_at)
    except Unavailable:
        # It had room when it was claimed; its end tells when it was sent.
        return True


def broken(error: BaseException) -> Postponed:
    """The outcome of a fault of our own."""
    return Postponed(error=InternalError(f"a fault of the service: {type(error).__name__}"))


def outcome_of_cut(claim: Claim, why: str) -> Expired | Postponed | Cut:
    """What it means that we ended the call: a deadline is the job's or the call's own."""
    if why != DEADLINE:
        return Cut(why=why)
    if claim.left_s <= settings.get().call_timeout_s + DEADLINE_SLACK_S:
        return Expired()
    return Postponed(error=ProviderTimeout(f"no answer within {settings.get().call_timeout_s:g} s"))


def _complete(provider: Provider, model: str, request: ChatRequest, call: Call) -> Completion[ChatResult]:
    try:
        return provider.complete(model, request, call)
    except ReasoningExhausted as error:
        more = _with_more(provider.name, model, request, error.usage)
        if more is None or error.usage is None:
            raise
        first, spent = error, error.usage
    call.await_room()
    try:
        again = provider.complete(model, more, call)
    except ReasoningExhausted as error:
        raise ReasoningExhausted(error.message, usage=spent + error.usage if error.usage else spent) from error
    except (BadRequest, ContextTooLong) as error:
        # The larger budget is more than this model takes: what the first call came to still holds.
        raise first from error
    return replace(again, usage=spent + again.usage if again.usage else spent)


def _with_more(provider: str, model: str, request: ChatRequest, spent: Usage | None) -> ChatRequest | None:
    """The request with a larger budget, up to what the catalogue says of the model; None where there is none."""
    if not request.retry_exhausted or spent is None:
        return None
    known = catalog.known_to(provider, model)
    rooms = (known.most_tokens, known.context and known.context - spent.prompt_tokens) if known else ()
    most = min((room for room in rooms if room is not None), default=None)
    more = request.with_more(spent.completion_tokens, most)
    return more if (more.max_tokens or 0) > spent.completion_tokens else None
