"""The door for batches: find, list, cancel, retry, read what has come of them. `web` enters here, and by upload.py."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

from tasks import publish, settings
from tasks.batches import outputs
from tasks.domain.batch import Batch, BatchOptions, BatchStatus, InvalidItem, item_id
from tasks.domain.errors import BatchNotFound, Unavailable
from tasks.domain.job import Job, Status
from tasks.store import batch_record, batches, jobs
from tasks.store.jobs import RESULTS_AT_ONCE
from tasks.store.listing import LOOKED_AT, Look, fitting, portions
from tasks.store.steps import AT_ONCE

#: An item with the custom_id by which its client knows it.
Named = tuple[str, Job]


def find(batch_id: str, owner: str) -> Batch:
    """The batch. Raises BatchNotFound when this owner has none of that id, and Unavailable."""
    batch = batches.default().find(batch_id, owner)
    if batch is None:
        raise BatchNotFound(f"no batch {batch_id}")
    return _with_last([batch])[0]


def made_of_file(owner: str, key: str, options: BatchOptions) -> Batch | None:
    """The batch that this idempotency key made of the same file, which may be gone by now. Raises Unavailable."""
    before = batches.default().accepted_before(owner, key)
    batch = batches.default().find(before.id, owner) if before else None
    return _with_last([batch])[0] if batch and batch.openai == options.openai else None


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


def _with_last(found: Sequence[Batch]) -> list[Batch]:
    """Batches of one owner, each with the job over its results."""
    lasts = {job.id: job for some in _pages(_last_ids(found)) for _, job in jobs.default().items(some, found[0].owner)}
    return [
        replace(one, on_complete={**one.on_complete, "job": lasts[_last_id(one)]})
        if one.on_complete is not None and _last_id(one) in lasts
        else one
        for one in found
    ]


def _last_id(batch: Batch) -> str:
    """The job over its results; "" where there is none, or none yet."""
    return str(batch.on_complete["job_id"] or "") if batch.on_complete is not None else ""


def _last_ids(found: Sequence[Batch]) -> list[str]:
    return [last_id for one in found if (last_id := _last_id(one))]


def _fitting(found: Sequence[Batch], limit: int) -> int:
    """How many of the first make a page, with the results of the jobs over their results."""
    sizes = {look.id: look.size for some in _pages(_last_ids(found)) for _, look in jobs.default().look_at(some)}
    return fitting([Look(one.id, sizes.get(_last_id(one), 0)) for one in found], limit=limit)


def page(
    owner: str, *, status: BatchStatus | None, limit: int, after: str | None, only_openai: bool = False
) -> tuple[list[Batch], bool]:
    """At most `limit` of an owner's batches, newest first, from behind `after`, fewer where the answers over their
    results are large; and whether there are more. `only_openai`: those that were asked for in OpenAI's form.

    Raises BatchNotFound when there is no batch `after`, and Unavailable.
    """
    ids, found = _batch_ids(owner, status, after), list[Batch]()
    # How many of them are in OpenAI's form is not known before.
    while len(found) <= limit and (some := _some(ids, RESULTS_AT_ONCE if only_openai else limit + 1 - len(found))):
        read = [one for one in batches.default().read(some, owner) if status in (None, one.status)]
        found += [one for one in read if one.openai is not None or not only_openai]
    count = _fitting(found, limit)
    return _with_last(found[:count]), len(found) > count


def _batch_ids(owner: str, status: BatchStatus | None, after: str | None) -> Iterator[str]:
    store = batches.default()
    while ids := store.page(owner, limit=AT_ONCE, after=after):
        after = ids[-1]
        yield from ids if status is None else _in_state(ids, store.statuses(ids), status)


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
    """The items behind line `after` that are in this state, in the order of their lines, fewer than `limit` where their
    results are large; and whether there are more."""
    looks: Iterator[Look] = _looks(batch, status, after, first=limit + 1)
    while True:
        found = list(islice(looks, limit + 1))
        count = fitting(found, limit=limit)
        read = jobs.default().items([look.id for look in found[:count]], batch.owner)
        # What has changed meanwhile is on another page. A page without any would be taken for the last one.
        matching = [(name, job) for name, job in read if status in (None, job.status)]
        if matching or count == len(found):
            return matching, len(found) > count
        looks = chain(found[count:], looks)


def _looks(batch: Batch, status: Status | None, after: int, *, first: int) -> Iterator[Look]:
    """The items behind a line that are in this state; `first` of them are looked at at first."""
    while after < batch.lines:
        upto = min(after + first, batch.lines)
        said = jobs.default().look_at([item_id(batch.id, n + 1) for n in range(after, upto)])
        yield from (look for state, look in said if status in (None, state))
        after, first = upto, LOOKED_AT


def ended(batch_id: str, owner: str, *, failed: bool) -> Iterator[Named]:
    """The items that have ended, in the order in which they did; those that did not complete if `failed`, else those
    that did."""
    store, after = batches.default(), -1.0
    while page := store.settled(batch_id, after):
        after = page[-1][1]
        said = jobs.default().look_at([item_id(batch_id, n) for n, _ in page])
        wanted = [look for state, look in said if (state != Status.COMPLETED) == failed]
        for some in portions(wanted, limit=RESULTS_AT_ONCE):
            for custom_id, job in jobs.default().items(some, owner):
                if (job.status is not Status.COMPLETED) == failed:
                    yield custom_id, job


def _in_state(ids: Iterable[str], states: Iterable[str | None], wanted: str) -> list[str]:
    """The ids of what is in this state: nothing else needs to be read."""
    return [one for one, state in zip(ids, states, strict=True) if state == wanted]


def _some(ids: Iterator[str], most: int) -> list[str]:
    """The next of them: what is read at once is bounded, however large the records are."""
    return list(islice(ids, min(most, RESULTS_AT_ONCE)))


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), RESULTS_AT_ONCE):
        yield ids[first : first + RESULTS_AT_ONCE]


def invalid(batch_id: str) -> Iterator[InvalidItem]:
    """The items that were not valid."""
    start = 0
    while page := batches.default().invalid(batch_id, start):
        yield from page
        start += len(page)
