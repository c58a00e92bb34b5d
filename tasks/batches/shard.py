"""One shard of a batch: runs its items, as many at a time as this worker has room for."""

from __future__ import annotations

from concurrent.futures import Future, wait

from tasks import execution, process
from tasks.domain.batch import item_id
from tasks.providers.base import Call
from tasks.store import batch_work
from tasks.store.steps import Step


def run(step: Step, handle: Call) -> bool:
    """Run the items that nobody has claimed yet. Returns whether all have been; False: to be looked at again.

    An item that was claimed is a job like any other: it has a watcher of its own, and its retries go their own way.
    """
    ids = [item_id(step.batch_id, n) for n in step.request["numbers"]]
    room = process.here().batch_room
    running: list[Future[None]] = []
    with room.shard():
        for job_id, epoch in batch_work.default().unclaimed(ids):
            if not room.enter(handle):
                break
            running.append(room.submit(execution.run, job_id, epoch))
        wait(running)
    handle.raise_if_cut()
    return not batch_work.default().unclaimed(ids)
