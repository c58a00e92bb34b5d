"""Wakes Celery's loop when a slot becomes free: it looks for the next message at once, not at its next timer."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from vine import promise


class Wake:
    """With prefetch off, a loop whose slots are all taken does not listen to its queues, and sleeps up to a second.

    Only task events would wake it by the way, and they cost a third of the loop's work. Flower turns them on.
    """

    def __init__(self, worker: Any) -> None:
        self._hub = worker.hub
        self._apply = worker.pool.on_apply
        self._nothing = promise(lambda: None)
        worker.pool.on_apply = self._on_apply

    def _on_apply(self, *args: Any, **kwargs: Any) -> Any:
        result = self._apply(*args, **kwargs)
        # The slot counts as taken until Celery's own callback, which runs in the future, is done.
        result.f.add_done_callback(self._wake)
        return result

    def _wake(self, _done: Future[Any]) -> None:
        self._hub.call_soon(self._nothing)
