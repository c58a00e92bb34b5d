"""Celery's result backend on Redis, which notes the parts of chords, made to give up quietly and to remember nothing.

Celery notes that a part is done after the task has returned. Where that raised, the worker's slot was lost for ever:
Redis away for ten seconds while shards ended, and the worker took nothing more. What the note is for, the batch's
record tells as well (docs/decisions/0013).

Whoever sends a chord is remembered by Celery as one that waits for the results of all its parts: an object and a
subscribed channel for each, for ever, since nobody here asks for them. So nothing is remembered; `AsyncResult.get`
would wait for ever.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from celery.backends.redis import RedisBackend
from celery.backends.redis import SentinelBackend as PlainSentinelBackend
from redis.exceptions import OutOfMemoryError

log = structlog.get_logger()

#: How long to try, and how often. A supervisor has Redis back sooner; noting a part twice counts it once.
PATIENCE_S, PAUSE_S = 15.0, 0.5


class Quiet:
    """What is made otherwise."""

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:
        """Nobody waits for a result here."""
        return result

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """A task is about to be sent: nobody listens for its result."""

    def on_chord_part_return(
        self, request: Any, state: str, result: Any, propagate: bool | None = None, **kwargs: Any
    ) -> None:
        """Note that a part of a chord is done, and send the body after the last one."""
        ends_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                super().on_chord_part_return(request, state, result, propagate, **kwargs)  # type: ignore[misc]
                return
            except Exception as error:
                # A full Redis stays so for long, and is no reason to keep a slot from others.
                if time.monotonic() > ends_at or "OOM " in str(error) or isinstance(error, OutOfMemoryError):
                    log.warning("chord.part_not_noted", batch_id=request.group, error=type(error).__name__)
                    return
            threading.Event().wait(PAUSE_S)


class Backend(Quiet, RedisBackend):
    """Redis' backend with that."""


class SentinelBackend(Quiet, PlainSentinelBackend):
    """The same where sentinels say which server it is."""
