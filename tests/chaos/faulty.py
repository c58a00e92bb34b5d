"""A task that breaks in ways no task should, and a provider that does; loaded into a worker by tests only."""

from __future__ import annotations

import builtins

from tasks.celery import app


@app.task
def explode(kind: str) -> None:
    """Raise the built-in exception `kind`."""
    raise getattr(builtins, kind)("on purpose")
