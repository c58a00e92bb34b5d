"""Tasks of the `gpu` queue: jobs answered by the engine of this worker."""

from __future__ import annotations

from tasks import execution
from tasks.celery import app


@app.task
def run(job_id: str, epoch: int) -> None:
    """One try at one job. Safe to run twice: only the message whose epoch wins the claim does anything."""
    execution.run(job_id, epoch)
