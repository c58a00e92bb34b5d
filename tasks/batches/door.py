"""The door for batches: find, list, cancel, read what has come of them. `web` enters here, and by upload.py."""

from __future__ import annotations

from collections.abc import Iterator

from tasks import publish
from tasks.domain.batch import Batch, InvalidItem
from tasks.domain.errors import BatchNotFound
from tasks.domain.job import Job, Status
from tasks.store import batches, jobs
from tasks.store.batches import item_id


def find(batch_id: str, owner: str) -> Batch:
    """The batch. Raises BatchNotFound when this owner has none of that id, and Unavailable."""
    batch = batches.default().find(batch_id, owner)
    if batch is None:
        raise BatchNotFound(f"no batch {batch_id}")
    return batch


def cancel(batch_id: str, owner: str) -> Batch:
    """End what is left of a batch; what is done is kept. Raises BatchNotFound and Unavailable."""
    find(batch_id, owner)
    publish.send(batches.default().cancel(batch_id))
    return find(batch_id, owner)


def ended(batch_id: str, owner: str, *, failed: bool) -> Iterator[tuple[str, Job]]:
    """The items that have ended, in the order in which they did, each with its custom_id; those that did not complete
    if `failed`, else those that did."""
    store, after = batches.default(), -1.0
    while page := store.settled(batch_id, after):
        after = page[-1][1]
        ids = [item_id(batch_id, n) for n, _ in page]
        for custom_id, job in jobs.default().items(ids, owner):
            if (job.status is not Status.COMPLETED) == failed:
                yield custom_id, job


def invalid(batch_id: str) -> Iterator[InvalidItem]:
    """The items that were not valid."""
    start = 0
    while page := batches.default().invalid(batch_id, start):
        yield from page
        start += len(page)
