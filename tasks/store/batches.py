"""The records of batches: their lines as they come in, accept, read, begin, end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from redis import Redis

from tasks import settings
from tasks.domain.batch import Batch, InvalidItem
from tasks.domain.errors import IdempotencyMismatch
from tasks.domain.job import LONGEST_EXPIRES_IN_S, Priority
from tasks.store import batch_record, connection, keys, steps
from tasks.store.jobs import IDEMPOTENCY_TTL_S
from tasks.store.message import Message, messages
from tasks.store.scripts import Scripts, renamed
from tasks.store.steps import Step

#: Lines of an upload that was broken off are gone after this long.
UPLOAD_KEPT_S = 3600
#: A step outlives its batch's deadline, at which it has to end what is left.
STEP_KEEP_S = 2 * LONGEST_EXPIRES_IN_S
#: Items that one script looks at: a few milliseconds.
AT_ONCE = 200


@dataclass(frozen=True, kw_only=True)
class NewBatch:
    """A batch to accept whose lines are stored. `message` is the Celery message of its step `expand`."""

    id: str
    owner: str
    idempotency_key: str | None
    fingerprint: str
    expires_in_s: float
    message: str
    fields: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """An item to write: `n` is the number of its line, from 1; `fields` its record as strings."""

    id: str
    n: int
    custom_id: str
    fields: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class NewShard:
    """A run of items that one message carries."""

    name: str
    queue: str
    numbers: Sequence[int]


def item_id(batch_id: str, n: int) -> str:
    """The job of line `n`: derived, so that reading a batch twice makes nothing twice."""
    return f"job_{batch_id.removeprefix('batch_')}-{n}"


class Batches:
    """The records of batches on one Redis. Every method raises Unavailable when Redis is away or full."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._ttl_s = ttl_s

    # ---- the client's side ----

    def keep_lines(self, batch_id: str, number: int, lines: Sequence[bytes]) -> None:
        """Keep some lines of an upload that is under way."""
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            pipe.rpush(keys.chunk(batch_id, number), *lines)
            pipe.expire(keys.chunk(batch_id, number), UPLOAD_KEPT_S)
            pipe.execute()

    def drop_lines(self, batch_id: str, chunks: int) -> None:
        """Forget the lines of an upload that came to nothing."""
        with renamed():
            for first in range(0, chunks, AT_ONCE):
                last = min(first + AT_ONCE, chunks)
                self._redis.delete(*(keys.chunk(batch_id, number) for number in range(first, last)))

    def accept(self, new: NewBatch) -> tuple[str, bool]:
        """Write a batch's record and the step that reads its lines: its id, and whether an earlier one's.

        Raises IdempotencyMismatch when the key was used with another payload.
        """
        idem = keys.idempotency(new.owner, f"batch {new.idempotency_key}") if new.idempotency_key else ""
        list_age_s = LONGEST_EXPIRES_IN_S + self._ttl_s
        head = [new.id, new.fingerprint, IDEMPOTENCY_TTL_S, int(new.expires_in_s * 1000), list_age_s * 1000]
        head += [STEP_KEEP_S * 1000, steps.QUEUE, int(Priority.INTERACTIVE), new.message]
        pairs = [part for pair in new.fields.items() for part in pair]
        names = [keys.batch(new.id), idem, keys.owner_batches(new.owner)]
        answer = self._scripts.call("accept_batch", names, [*head, *pairs])
        if answer[0] == "mismatch":
            raise IdempotencyMismatch("this idempotency key was used with another payload", field="idempotency_key")
        return answer[1], answer[0] == "replayed"

    def find(self, batch_id: str, owner: str) -> Batch | None:
        """The batch as its owner sees it; None when there is none, or it is somebody else's."""
        with renamed():
            values = cast(dict[str, str], self._redis.hgetall(keys.batch(batch_id)))
            if not values or values["owner"] != owner:
                return None
            latest = cast(list[tuple[str, float]], self._latest(batch_id))
            now_s, now_us = self._redis.time()
        return batch_record.batch(batch_id, values, [us for _, us in latest], now_us=now_s * 1_000_000 + now_us)

    def _latest(self, batch_id: str) -> Any:
        return self._redis.zrevrange(keys.settled_items(batch_id), 0, batch_record.RATE_OVER - 1, withscores=True)

    def cancel(self, batch_id: str) -> list[Message]:
        """Say that a batch is to be ended; what is left of it is ended behind this. Returns messages to send."""
        return messages(self._scripts.call("cancel_batch", [keys.batch(batch_id)], [batch_id]))

    def settled(self, batch_id: str, after_us: float) -> list[tuple[int, float]]:
        """Items that have ended after a moment, the first of them: (number, when in µs)."""
        with renamed():
            found = self._redis.zrangebyscore(
                keys.settled_items(batch_id), f"({after_us:.0f}", "+inf", start=0, num=AT_ONCE, withscores=True
            )
        return [(int(n), at) for n, at in cast(list[tuple[str, float]], found)]

    def invalid(self, batch_id: str, start: int) -> list[InvalidItem]:
        """Items that are not valid, from the one at `start`."""
        with renamed():
            found = self._redis.lrange(keys.invalid_items(batch_id), start, start + AT_ONCE - 1)
        return [InvalidItem(**json.loads(text)) for text in cast(list[str], found)]

    # ---- the worker's side ----

    def plan(self, batch_id: str) -> dict[str, Any] | None:
        """What workers need to know of a batch: {owner, status, options, chunks, expanded, expires_at, …}."""
        with renamed():
            values = cast(dict[str, str], self._redis.hgetall(keys.batch(batch_id)))
        return {**values, "options": json.loads(values["options"])} if values else None

    def lines(self, batch_id: str, number: int) -> list[str]:
        """The lines of one chunk, each behind its number and a blank."""
        with renamed():
            return cast(list[str], self._redis.lrange(keys.chunk(batch_id, number), 0, -1))

    def expand(
        self,
        batch_id: str,
        chunk: int,
        items: Iterable[NewItem],
        shards: Iterable[NewShard],
        invalid: Iterable[InvalidItem],
    ) -> list[int] | None:
        """Write the items of a chunk: the numbers of those whose custom_id was there before; None when it is over."""
        flat: list[Any] = []
        for item in items:
            pairs = [part for pair in item.fields.items() for part in pair]
            flat += [item.id, item.custom_id, item.n, len(pairs), *pairs]
        carriers = [
            {"name": s.name, "queue": s.queue, "request": json.dumps({"numbers": list(s.numbers)})} for s in shards
        ]
        args = [batch_id, chunk, STEP_KEEP_S * 1000, int(Priority.BATCH), json.dumps(carriers)]
        texts = json.dumps([json.dumps(vars(one)) for one in invalid])
        names = [keys.batch(batch_id), keys.item_names(batch_id), keys.invalid_items(batch_id)]
        answer = self._scripts.call("expand", names, [*args, texts, *flat])
        return None if answer[0] == "gone" else [int(n) for n in answer[1:]]

    def note_invalid(self, batch_id: str, invalid: Sequence[InvalidItem]) -> None:
        """Keep what is wrong with items that are counted as invalid already."""
        with renamed():
            self._redis.rpush(keys.invalid_items(batch_id), *(json.dumps(vars(one)) for one in invalid))

    def begin(self, batch_id: str, *, accept: bool, stop_after: float | None) -> list[Message]:
        """Let the shards of a batch go, or end it as not valid. Returns the messages to send."""
        share = "" if stop_after is None else stop_after
        args = [batch_id, STEP_KEEP_S * 1000, steps.QUEUE, int(Priority.INTERACTIVE), int(accept), share, self._ttl_s]
        answer = self._scripts.call("begin_batch", [keys.batch(batch_id)], args)
        return messages(answer[1:]) if answer[0] == "begun" else []

    def conclude(self, batch_id: str, *, has_last: bool) -> list[str]:
        """End the batch if it is over; the words of conclude.lua."""
        args = [batch_id, int(has_last), self._ttl_s]
        return [str(word) for word in self._scripts.call("conclude", [keys.batch(batch_id)], args)]

    def rest(self, step: Step, *, delay_s: float = 0.0) -> bool:
        """Let the last step of a batch rest, until an item's end wakes it. False when it is wanted again at once."""
        args = [step.job_id, step.fence, int(delay_s * 1000)]
        return int(self._scripts.call("rest_batch", [keys.batch(step.batch_id), keys.job(step.job_id)], args)) != 2

    def set_last(self, batch_id: str, job_id: str) -> None:
        """Say which job runs over the results."""
        with renamed():
            self._redis.hset(keys.batch(batch_id), "last_job", job_id)

    def erase_items(self, ids: Sequence[str]) -> None:
        """Erase items that were never let go."""
        with renamed():
            self._redis.delete(*map(keys.job, ids))

    def end_items(self, ids: Sequence[str], *, status: str, why: str) -> int:
        """End those of some items that are not over; how many."""
        return int(self._scripts.call("end_items", [], [status, why, self._ttl_s, *ids]))

    def unclaimed(self, ids: Sequence[str]) -> list[str]:
        """Those of some items that their shard has still to run."""
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.hget(keys.job(job_id), "phase")
            phases = pipe.execute()
        return [job_id for job_id, phase in zip(ids, phases, strict=True) if phase == "shard"]


@cache
def default() -> Batches:
    """The records on this process' Redis."""
    return Batches(connection.default(), ttl_s=settings.get().job_ttl_s)
