"""Looks, when a worker starts, whether the providers accept our keys."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Sequence

import structlog

from tasks import serving, settings
from tasks.domain.errors import CallCut, Unavailable
from tasks.domain.provider_errors import AccessDenied, PermanentError, ProviderError
from tasks.providers.base import DEADLINE, Call
from tasks.serving import Serving
from tasks.store import access

log = structlog.get_logger()

#: The longest a provider may take to answer for our key; no job waits for it.
LONGEST_S = 20.0
#: Of a fingerprint, in hexadecimal digits: enough to tell keys apart.
DIGITS = 16


def begin(servings: Sequence[Serving]) -> None:
    """Begin to look, in the background: a provider that is away keeps no worker from its start."""
    threading.Thread(target=look, args=(servings,), name="credentials", daemon=True).start()


def look(servings: Sequence[Serving]) -> None:
    """Tell Redis which keys are in use, and hold those providers that refuse theirs."""
    for one in servings:
        try:
            if (key := serving.key_of(settings.get(), one.provider)) is not None:
                _look_at(one, fingerprint(key))
        except Unavailable:
            log.warning("credentials.without_redis", provider=one.provider)


def fingerprint(key: str) -> str:
    """What tells one key from another, and does not tell the key."""
    return hashlib.sha256(f"tandem {key}".encode()).hexdigest()[:DIGITS]


def _look_at(one: Serving, its: str) -> None:
    if access.default().begin(one.provider, its):
        log.info("credentials.changed", provider=one.provider)
    if not access.default().first_to_look(one.provider, its):
        return
    try:
        _ask(one)
    except PermanentError as error:
        # A key without this right may have the right to ask models: the first call will tell.
        if error.of_key and not isinstance(error, AccessDenied):
            access.default().hold(one.provider, error.code)
            log.warning("credentials.refused", provider=one.provider, reason=error.code)
    except (ProviderError, CallCut) as error:
        log.warning("credentials.unknown", provider=one.provider, error=type(error).__name__)
    else:
        log.info("credentials.accepted", provider=one.provider)


def _ask(one: Serving) -> None:
    call = Call(request_id=f"key.{secrets.token_hex(4)}", timeout_s=LONGEST_S)
    deadline = threading.Timer(LONGEST_S, call.cut, (DEADLINE,))
    deadline.daemon = True
    deadline.start()
    try:
        serving.provider(one.provider, one.base_url).check_key(call)
    finally:
        deadline.cancel()
