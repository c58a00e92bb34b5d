"""Asks the hosted providers which models they list: once an hour, whoever comes first of all workers."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import structlog

from tasks import serving
from tasks.providers.base import DEADLINE, Call
from tasks.serving import LOCAL, Serving
from tasks.store import learned

log = structlog.get_logger()

#: How often a provider is asked, and how soon again when it did not answer.
EVERY_S, AGAIN_S = 3600, 60
#: The longest a list may take; no job waits for it.
LONGEST_S = 20.0


def refresh(servings: Iterable[Serving]) -> None:
    """Ask those providers whose list is old, unless another worker has just done so. Raises Unavailable."""
    for one in servings:
        if one.provider != LOCAL and learned.default().may_list(one.provider, EVERY_S):
            _refresh(one)


def _refresh(one: Serving) -> None:
    try:
        listed = _ask(one)
    except Exception as error:  # a list that makes no sense is no reason for a worker to end
        log.warning("listing.failed", provider=one.provider, error=type(error).__name__)
        learned.default().list_again(one.provider, AGAIN_S)
        return
    learned.default().keep_list(one.provider, listed)
    log.info("listing.kept", provider=one.provider, models=len(listed))


def _ask(one: Serving) -> frozenset[str]:
    call = Call(request_id="models", timeout_s=LONGEST_S)
    deadline = threading.Timer(LONGEST_S, call.cut, (DEADLINE,))
    deadline.daemon = True
    deadline.start()
    try:
        return serving.provider(one.provider, one.base_url).models(call)
    finally:
        deadline.cancel()
