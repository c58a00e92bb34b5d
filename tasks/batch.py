"""Tasks of batches: the shards of a chord, and its body. Every worker has them, whatever queue it serves."""

from __future__ import annotations

from tasks.batches import conclude, steps
from tasks.celery import app
from tasks.domain.errors import Unavailable


@app.task
def step(step_id: str, epoch: int) -> None:
    """Move one step of a batch on. Safe to run twice: only the message whose epoch wins the claim does anything."""
    steps.run(step_id, epoch)


@app.task
def finish(batch_id: str) -> None:
    """Conclude a batch if all of its items are over. Too early or twice it does nothing: the record decides.

    A job over its results is left to the step, which the last item's end has made due.
    """
    try:
        conclude.look(batch_id, makes_last=False)
    except Unavailable:
        return  # so the step will
