"""Celery's result backend on Redis, which notes the parts of chords, made to give up quietly.

Celery notes that a part is done after the task has returned. Where that raised, the worker's slot was lost for ever:
Redis away for ten seconds while shards ended, and the worker took nothing more. What the note is for, the batch's
record tells as well (docs/decisions/0013).
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from celery.backends.redis import RedisBackend

log = structlog.get_logger()

#: How long to try, and how often. A supervisor has Redis back sooner; noting a part twice counts it once.
PATIENCE_S, PAUSE_S = 15.0, 0.5


class Backend(RedisBackend):
    """Redis' backend with that."""

    def on_chord_part_return(
        self, request: Any, state: str, result: Any, propagate: bool | None = None, **kwargs: Any
    ) -> None:
        """Note that a part of a chord is done, and send the body after the last one."""
        ends_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                super().on_chord_part_return(request, state, result, propagate, **kwargs)
                return
            except Exception as error:
                if time.monotonic() > ends_at:
                    log.warning("chord.part_not_noted", batch_id=request.group, error=type(error).__name__)
                    return
            threading.Event().wait(PAUSE_S)
