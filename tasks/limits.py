"""The door for `/limits`: what may be asked of each provider, what was used of it, what was learned, who waits."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from tasks import quotas, routing, serving, settings
from tasks.domain.access import KeyHold
from tasks.domain.circuit import Circuit
from tasks.domain.errors import CallCut
from tasks.domain.job import from_ms
from tasks.domain.provider_errors import ProviderError
from tasks.domain.quota import Quota
from tasks.providers.base import Call
from tasks.providers.openrouter import OpenRouter
from tasks.serving import Serving
from tasks.store import access, circuits, fleet, learned, limits

log = structlog.get_logger()

#: How often a provider is asked about its key, and how long it may take to answer.
ASK_EVERY_S, ASK_TIMEOUT_S = 60.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Requests and tokens per window, requests per day, calls at a time. None: there is no such limit."""

    requests: int | None
    tokens: int | None
    requests_per_day: int | None
    concurrent: int | None


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The requests per window that refusals have shown, and when that changed last."""

    requests: int
    at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One provider's key, or one model there. `asked` and `refused` count calls since the beginning.

    `reported` is what the provider says of the key; None when it says nothing. `key_refused`: it refuses the key.
    """

    provider: str
    model: str | None
    window_s: float
    configured: Numbers
    guessed: bool
    learned: Learned | None
    used: Numbers
    left: Numbers
    held_until: datetime | None
    waiting: int
    asked: int
    refused: int
    key_refused: KeyHold | None
    reported: Mapping[str, Any] | None


def report() -> list[Limit]:
    """The limits of all providers that are configured here, and of models with their own. Raises Unavailable."""
    found = quotas.default()
    providers = [one.provider for one in serving.hosted(settings.get())]
    names = [*providers, *(name for name in found if name not in providers)]
    held = {one.provider: one for one in access.default().held()}
    return [_limit(name, found.get(name, Quota()), held.get(name)) for name in names]


def broken() -> list[Circuit]:
    """The circuits that are not closed, of models that a client may name here. Others are left from keys that are gone,
    or from models that the catalogue and the providers' lists no longer have. Raises Unavailable."""
    hosted = {one.provider: one for one in routing.hosted(fleet.default())}
    return [one for one in circuits.default().not_closed() if _can_be_named(one, hosted)]


def _can_be_named(circuit: Circuit, hosted: Mapping[str, Serving]) -> bool:
    if circuit.provider == serving.LOCAL:
        return True
    one = hosted.get(circuit.provider)
    if one is None:
        return False
    is_listed = circuit.model in learned.default().lately_listed(one.provider)
    return is_listed or serving.target(one, circuit.model) is not None


def ask_providers(servings: Iterable[Serving]) -> None:
    """Read what providers say of their keys: one of all workers, once a minute. What cannot be read is left."""
    for one in servings:
        if one.provider != OpenRouter.name or not limits.default().first_to_ask(one.provider, ASK_EVERY_S):
            continue
        provider = serving.provider(one.provider, one.base_url)
        if isinstance(provider, OpenRouter):
            try:
                said = provider.key(Call(request_id=f"key.{secrets.token_hex(4)}", timeout_s=ASK_TIMEOUT_S))
            except (ProviderError, CallCut) as error:
                log.warning("limits.key_not_read", provider=one.provider, error=type(error).__name__)
            else:
                limits.default().keep_report(one.provider, said)


def _limit(name: str, quota: Quota, key_refused: KeyHold | None) -> Limit:
    provider, _, model = name.partition(":")
    now = limits.default().standing(name)
    configured = Numbers(
        requests=quota.rpm or None,
        tokens=quota.tpm or None,
        requests_per_day=quota.rpd or None,
        concurrent=quota.calls or None,
    )
    used = Numbers(requests=now.requests, tokens=now.tokens, requests_per_day=now.day, concurrent=now.calls)
    return Limit(
        provider=provider,
        model=model or None,
        window_s=settings.get().limit_window_s,
        configured=configured,
        guessed=quota.guessed,
        learned=None if now.learned is None else Learned(requests=now.learned, at=from_ms(now.learned_at)),
        used=used,
        left=Numbers(
            requests=_left(now.limit, now.requests),
            tokens=_left(configured.tokens, now.tokens),
            requests_per_day=_left(configured.requests_per_day, now.day),
            concurrent=_left(configured.concurrent, now.calls),
        ),
        held_until=from_ms(now.held_until),
        waiting=now.waiting,
        asked=now.asked,
        refused=now.refused,
        key_refused=key_refused,
        reported=None if model else limits.default().report(provider),
    )


def _left(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)
