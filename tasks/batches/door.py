"""The door for batches: find, list, cancel, retry, read what has come of them. `web` enters here, and by upload.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from tasks import publish, settings
from tasks.batches import outputs
from tasks.domain.batch import Batch, BatchOptions, BatchStatus, InvalidItem, item_id
from tasks.domain.errors import BatchNotFound, Unavailable
from tasks.domain.job import Job, Status
from tasks.store import batch_record, batches, jobs
from tasks.store.steps import AT_ONCE

#: An item with the custom_id by which its client knows it.
Named = tuple[str, Job]


def find(batch_id: str, owner: str) -> Batch:
    """The batch. Raises BatchNotFound when this owner has none of that id, and Unavailable."""
    batch = batches.default().find(batch_id, owner)
    if batch is None:
        raise BatchNotFound(f"no batch {batch_id}")
    return _with_last(batch)


def accepted(batch_id: str, owner: str, options: BatchOptions, *, total: int, lines: int) -> Batch:
    """A batch just accepted, of `total` items in `lines` lines; as it was accepted where it cannot be read now."""
    try:
        return find(batch_id, owner)
    except (BatchNotFound, Unavailable):
        created_ms = int(time.time() * 1000)
        left_s = options.expires_in_s or settings.get().expires_in_s
        return batch_record.accepted(
            batch_id, owner, options, total=total, lines=lines, created_ms=created_ms, expires_in_s=left_s
        )


def _with_last(batch: Batch) -> Batch:
    if batch.on_complete is None or batch.on_complete["job_id"] is None:
        return batch
    job = jobs.default().find(batch.on_complete["job_id"], batch.owner)
    return batch if job is None else replace(batch, on_complete={**batch.on_complete, "job": job})


def page(
    owner: str, *, status: BatchStatus | None, limit: int, after: str | None, only_openai: bool = False
) -> tuple[list[Batch], bool]:
    """An owner's batches, newest first, from behind `after`; and whether there are more. `only_openai`: those that were
    asked for in OpenAI's form.

    Raises BatchNotFound when there is no batch `after`, and Unavailable.
    """
    store, found = batches.default(), list[Batch]()
    while len(found) <= limit and (ids := store.page(owner, limit=AT_ONCE, after=after)):
        read = (store.find(batch_id, owner) for batch_id in ids)
        some = [one for one in read if one is not None and status in (None, one.status)]
        found += [one for one in some if one.openai is not None or not only_openai]
        after = ids[-1]
    return [_with_last(one) for one in found[:limit]], len(found) > limit


def cancel(batch_id: str, owner: str) -> Batch:
    """End what is left of a batch; what is done is kept. Raises BatchNotFound and Unavailable."""
    find(batch_id, owner)
    publish.send(batches.default().cancel(batch_id))
    return find(batch_id, owner)


def retry(batch_id: str, owner: str) -> Batch:
    """Run the items of a batch again that ended without an answer. Raises BatchNotFound, BatchBusy, InvalidRequest when
    there is none, and Unavailable."""
    find(batch_id, owner)
    publish.send(batches.default().retry(batch_id))
    return find(batch_id, owner)


def pause(batch_id: str, owner: str, *, paused: bool) -> Batch:
    """Begin no more items of a batch for a while, or go on. Raises BatchNotFound, BatchBusy and Unavailable."""
    find(batch_id, owner)
    publish.send(batches.default().pause(batch_id, paused=paused))
    return find(batch_id, owner)


def erase(batch_id: str, owner: str) -> None:
    """Erase a batch, its items and the files it ended with; what runs is cut. Raises BatchNotFound and Unavailable."""
    batch = batches.default().find(batch_id, owner)
    if batch is not None:
        outputs.erase(batch)
    if not batches.default().forget(batch_id, owner):
        raise BatchNotFound(f"no batch {batch_id}")


def items(batch: Batch, *, status: Status | None, limit: int, after: int) -> tuple[list[Named], bool]:
    """The items behind line `after` that are in this state, in the order of their lines; and whether there are more."""
    found: list[Named] = []
    while len(found) <= limit and after < batch.lines:
        upto = min(after + AT_ONCE, batch.lines)
        ids = [item_id(batch.id, n) for n in range(after + 1, upto + 1)]
        read = jobs.default().items(ids, batch.owner)
        found += [(name, job) for name, job in read if status in (None, job.status)]
        after = upto
    return found[:limit], len(found) > limit


def ended(batch_id: str, owner: str, *, failed: bool) -> Iterator[Named]:
    """The items that have ended, in the order in which they did; those that did not complete if `failed`, else those
    that did."""
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
