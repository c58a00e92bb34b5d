"""What must be true of a batch after all that happened to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from tasks.domain.batch import ENDS, item_id
from tasks.store import keys, steps
from tasks.store.batches import Batches
from tasks.store.claim import Claim

BATCH, OWNER = "batch_0123456789abcdef0123456789abcdef", "owner"
CHUNKS = [(1, 2), (3, 4), (5, 6)]
#: The last says the custom_id of the first, and is no item.
LINES = 6
IDS = [item_id(BATCH, n) for n in range(1, LINES)]
FINAL = {"completed", "failed", "cancelled", "expired"}


@dataclass
class Seen:
    """What the outside knows of it. `concluded` counts the ends of this round; `erased` are items by how they count."""

    written: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)
    erased: dict[str, str] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    concluded: int = 0
    forgotten: bool = False

    def begin(self, claim: Claim) -> None:
        """An item was claimed."""
        assert claim.job_id not in self.ended, "claimed after its end"
        assert claim.fence > self.fences.get(claim.job_id, 0), "a fence was given twice"
        self.fences[claim.job_id] = claim.fence

    def erase(self, job_id: str, status: str) -> None:
        """An item's record is deleted by its owner: it counts as it ended, or as cancelled."""
        self.ended.pop(job_id, None)
        self.erased[job_id] = status if status in FINAL else "cancelled"

    def unanswered(self) -> set[str]:
        """Items that another round would run."""
        return {job_id for job_id, status in self.ended.items() if status != "completed"}

    def begin_anew(self, ids: Iterable[str]) -> None:
        """These were put back for another round, unless they were before."""
        for job_id in self.unanswered() & set(ids):
            del self.ended[job_id]


def check(redis: Redis, batches: Batches, seen: Seen) -> None:
    """Compare the batch, its items, their shards and all watchers."""
    pipe = redis.pipeline(transaction=False)
    pipe.hgetall(keys.batch(BATCH))
    pipe.zrange(keys.DUE, 0, -1, withscores=True)
    for job_id in IDS:
        pipe.hgetall(keys.job(job_id))
        pipe.pttl(keys.job(job_id))
    values, due, *found = pipe.execute()
    records = {job_id: record for job_id, record in zip(IDS, found[::2], strict=True) if record}
    unread = sum(redis.llen(keys.chunk(BATCH, chunk)) for chunk in range(len(CHUNKS)))
    assert int(str(redis.get(keys.UNREAD))) == unread, "room is kept for what is no line any more, or not for what is"
    unfinished = [one for one in records.values() if one["status"] not in FINAL]
    room = sum(int(one["answer_bytes"]) for one in unfinished)
    assert int(redis.get(keys.RESERVED_BYTES) or 0) == room, "room is kept for the wrong answers"
    assert redis.hgetall(keys.RESERVED) == ({BATCH: str(room)} if room else {})
    if seen.forgotten:
        assert batches.find(BATCH, OWNER) is None
        assert not values or values["status"] not in ("in_progress", "finalizing"), "it goes on"
    if not values:
        assert seen.forgotten
        return
    assert seen.concluded <= 1, "it ended twice"
    if not seen.forgotten:
        assert set(records) | set(seen.erased) == seen.written, "not the items that were read"
        _check_counts(batches, values, records, seen)
        if values["status"] not in FINAL and values["status"] != "validating":
            assert set(found[1::2]) <= {-1, -2}, "an item may lapse before its batch is over"
    _check_watchers(redis, values, records, dict(due))


def _check_counts(batches: Batches, values: Mapping[str, str], records: Mapping[str, Any], seen: Seen) -> None:
    for job_id, record in records.items():
        before = seen.ended.get(job_id)
        assert before in (None, record["status"]), "it ended twice"
        if record["status"] in FINAL:
            seen.ended[job_id] = record["status"]
    ends = [*seen.ended.values(), *seen.erased.values()]
    batch = batches.find(BATCH, OWNER)
    assert batch is not None
    said = {end.value: batch.counts[end.value] for end in ENDS}
    counts = {end.value: ends.count(end.value) for end in ENDS}
    assert {end.value: int(values.get(end.value, 0)) for end in ENDS} == counts, "counted wrongly"
    if values["status"] == "validating" and batch.round > 1:  # the others are to be put back
        counts = dict.fromkeys(counts, 0) | {"completed": counts["completed"]}
    assert said == counts, "told wrongly"
    assert int(values["settled"]) == len(ends)
    assert len(batches.invalid(BATCH, 0)) == batch.counts["invalid"], "not all that is wrong can be read"
    assert batch.total - batch.settled >= 0, "more have ended than there are"
    assert sum(batch.queued.values()) == len(seen.written), "not each item is counted in one queue"
    assert (values["status"] in FINAL) == (seen.concluded == 1), "not what was told of its end"


def _check_watchers(
    redis: Redis, values: Mapping[str, str], records: Mapping[str, Any], due: Mapping[str, float]
) -> None:
    """Somebody looks at each unfinished item in time: at itself, its shard, or its batch."""
    goes_on = values["status"] not in FINAL or "erase" in values or "lapses_at" in values
    names = ["expand", "finish", *(f"retry-{n}" for n in range(2, int(values["round"]) + 1))]
    watched = {name for name in names if steps.step_id(BATCH, name) in due}
    assert watched or not goes_on, "nobody looks at it"
    if values["status"] == "validating":
        assert watched - {"finish"}, "nobody reads it"
    if values["status"] == "in_progress" and int(values["settled"]) >= int(values["valid"]):
        end = steps.step_id(BATCH, "finish")
        if redis.hget(keys.job(end), "phase") == "backoff":
            assert due[end] <= redis.time()[0] * 1000 + 1000, "its last item's end made it not due"
    carried = _carried(redis, due)
    is_resumed = redis.sismember(keys.LIMITS, f"paused:{BATCH}")
    for job_id, record in records.items():
        if record["status"] not in ("pending", "processing"):
            assert job_id not in due, "looked at although it is over"
        elif record["phase"] == "shard":
            assert job_id not in due, "a watcher beside its shard's"
            is_carried = (job_id, record["queue"]) in carried
            waits = "paused" in values or ("resume_from" in values and is_resumed)
            assert is_carried or values["status"] != "in_progress" or waits, "nobody carries it"
        else:
            assert job_id in due, "nobody looks at it"
            assert record["status"] == "processing" or due[job_id] <= float(record["expires_at"]), "looked at too late"


def _carried(redis: Redis, due: Mapping[str, float]) -> set[tuple[str, str]]:
    """The items of shards that somebody looks at, each with the queue in which that is."""
    found = set()
    for step in filter(steps.is_step, due):
        request, queue = redis.hmget(keys.job(step), "request", "queue")
        if request:
            found |= {(item_id(BATCH, n), str(queue)) for n in json.loads(request)["numbers"]}
    return found


def check_lapse(redis: Redis) -> None:
    """All that is left of one that is over lapses at the same moment."""
    kept = [keys.batch(BATCH), keys.settled_items(BATCH), *map(keys.job, IDS)]
    moments = {redis.pexpiretime(key) for key in kept if redis.exists(key)}
    assert len(moments) == 1 and -1 not in moments, "not together, or never"


def left_of(redis: Redis) -> list[str]:
    """Keys and entries of a batch, beside the word that it, or an item, was erased."""
    hexed = BATCH.removeprefix("batch_")
    found = [str(key) for key in redis.scan_iter(f"*{hexed}*", count=1000) if ":erased:" not in str(key)]
    indexes = [
        keys.DUE,
        *(str(key) for pattern in ("waiting", "parked") for key in redis.scan_iter(f"tandem:{pattern}:*")),
    ]
    return found + [str(one) for index in indexes for one in redis.zrange(index, 0, -1) if hexed in str(one)]
