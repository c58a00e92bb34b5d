"""The lists of an owner's jobs, page by page: of them all, of those that are open, and of those that ended so or so.

The scripts that accept, end and erase jobs keep them. Records are looked at where they lie, and only those of a page
are read with their results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, cast

from redis import Redis

from tasks.domain.errors import JobNotFound
from tasks.domain.job import LONGEST_EXPIRES_IN_S, Job, Status
from tasks.store import keys, record
from tasks.store.scripts import Scripts

#: Entries that one script looks at: less than a millisecond of Redis' time.
LOOKED_AT = 500
#: Results of one page together; one job's alone may have more.
PAGE_BYTES = 16 * 1024 * 1024
#: How often the lists of an owner who asks for them are compared with the records: what a version ended that does not
#: keep them is in them then.
AUDIT_MS = 600_000


class Look(NamedTuple):
    """A job that was looked at, and the size of its result in bytes."""

    id: str
    size: int


def fitting(looks: Sequence[Look], *, limit: int) -> int:
    """How many of the first results make a page: at most `limit`, and PAGE_BYTES together unless it is one."""
    total = 0
    for count, look in enumerate(looks[:limit]):
        total += look.size
        if count and total > PAGE_BYTES:
            return count
    return min(limit, len(looks))


def portions(looks: Sequence[Look], *, limit: int) -> Iterator[list[str]]:
    """The ids of them all, as many at a time as make a page."""
    at = 0
    while at < len(looks):
        count = fitting(looks[at : at + limit], limit=limit)
        yield [look.id for look in looks[at : at + count]]
        at += count


class Listing:
    """An owner's jobs, newest first. Entries whose record has expired are dropped from the lists on the way."""

    def __init__(self, redis: Redis, scripts: Scripts, owner: str, *, ttl_s: int) -> None:
        self._redis = redis
        self._scripts = scripts
        self._owner = owner
        self._all = keys.owner_jobs(owner)
        self._kept_s = LONGEST_EXPIRES_IN_S + ttl_s

    def page(
        self, *, status: Status | None, model: str | None, limit: int, after: str | None
    ) -> tuple[list[Job], bool]:
        """At most `limit` jobs behind `after` that match, fewer where their results are large; and whether there are
        more.

        Raises JobNotFound when `after` is not among the owner's jobs: from the top again, a walk would never end.
        """
        below = self._behind(after) if after else "+inf"
        if status is not None:
            self._audit()
        looks: Iterator[Look] = self._looks(status, model, below, limit)
        while True:
            found = list(islice(looks, limit + 1))
            count = fitting(found, limit=limit)
            jobs = self._read([look.id for look in found[:count]])
            # What has changed meanwhile is on another page. A page without any would be taken for the last one.
            matching = [one for one in jobs if status in (None, one.status)]
            if matching or count == len(found):
                return matching, len(found) > count
            looks = chain(found[count:], looks)

    def _behind(self, after: str) -> str:
        created_us = self._redis.zscore(self._all, after)
        if created_us is None:
            raise JobNotFound(f"no job {after} to go on behind", field="after")
        return f"({created_us:.0f}"

    def _audit(self) -> None:
        while self._scripts.call("audit_list", [self._all], [LOOKED_AT, AUDIT_MS, self._kept_s]):
            pass

    def _looks(self, status: Status | None, model: str | None, below: str, limit: int) -> Iterator[Look]:
        index = self._all if status is None else keys.owner_jobs_in(self._owner, status)
        count = min(limit + 1, LOOKED_AT)
        while below:
            behind, gone, *found = self._scripts.call("list_jobs", [index], [below, count, status or "", model or ""])
            if gone:
                self._redis.zrem(index, *gone)
                self._redis.zrem(self._all, *gone)
            yield from (Look(job_id, int(size)) for job_id, size in zip(found[::2], found[1::2], strict=True))
            below, count = behind and f"({behind}", LOOKED_AT

    def _read(self, ids: Sequence[str]) -> list[Job]:
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(keys.job(job_id), record.VISIBLE)
        rows = cast(list[list[Any]], pipe.execute())
        jobs = [record.job(i, dict(zip(record.VISIBLE, row, strict=True))) for i, row in zip(ids, rows, strict=True)]
        return [one for one in jobs if one is not None]
