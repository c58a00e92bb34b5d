"""The records of batches, as their owners deal with them: accept, find, list, cancel, retry, pause, erase."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from redis import Redis

from tasks import settings
from tasks.domain.batch import Batch, InvalidItem
from tasks.domain.errors import BatchBusy, BatchNotFound, IdempotencyMismatch, InvalidRequest, Unavailable
from tasks.domain.job import LONGEST_EXPIRES_IN_S, Priority
from tasks.store import batch_record, clock, connection, earlier, keys, steps
from tasks.store.earlier import Earlier
from tasks.store.jobs import ERASED_KEPT_S
from tasks.store.message import Message, messages
from tasks.store.new_job import IDEMPOTENCY_TTL_S
from tasks.store.scripts import RETRY_AFTER_S, Scripts, renamed

#: Lines of an upload that was broken off are gone after this long.
UPLOAD_KEPT_S = 3600


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


class Batches:
    """The records of batches on one Redis. Every method raises Unavailable when Redis is away or full."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._ttl_s = ttl_s

    def keep_lines(self, batch_id: str, number: int, lines: Sequence[bytes]) -> None:
        """Keep some lines of an upload that is under way."""
        with renamed():
            # All or nothing, from nothing: the connection sends it again when the answer is lost.
            pipe = self._redis.pipeline(transaction=True)
            pipe.delete(keys.chunk(batch_id, number))
            pipe.rpush(keys.chunk(batch_id, number), *lines)
            pipe.expire(keys.chunk(batch_id, number), UPLOAD_KEPT_S)
            pipe.execute()

    def drop_lines(self, batch_id: str, chunks: int) -> None:
        """Forget the lines of an upload, unless it was accepted after all."""
        for first in range(0, chunks, steps.AT_ONCE):
            some = range(first, min(first + steps.AT_ONCE, chunks))
            self._scripts.call("drop_lines", [keys.batch(batch_id), *(keys.chunk(batch_id, n) for n in some)], [])

    def accepted_before(self, owner: str, key: str) -> Earlier | None:
        """The batch that this idempotency key was accepted with, if it is still there."""
        return earlier.first(self._redis, "batch", owner, key)

    def accept(self, new: NewBatch) -> tuple[str, bool]:
        """Write a batch's record and the step that reads its lines: its id, and whether an earlier one's.

        Raises IdempotencyMismatch when the key was used with another payload, and Unavailable also when lines of it
        were lost on the way.
        """
        idem = keys.idempotency("batch", new.owner, new.idempotency_key) if new.idempotency_key else ""
        list_age_s = LONGEST_EXPIRES_IN_S + self._ttl_s
        head = [new.id, new.fingerprint, IDEMPOTENCY_TTL_S, int(new.expires_in_s * 1000), list_age_s * 1000]
        head += [steps.KEEP_S * 1000, steps.QUEUE, int(Priority.INTERACTIVE), new.message]
        pairs = [part for pair in new.fields.items() for part in pair]
        names = [keys.batch(new.id), idem, keys.owner_batches(new.owner)]
        answer = self._scripts.call("accept_batch", names, [*head, *pairs])
        if answer[0] == "mismatch":
            raise IdempotencyMismatch("this idempotency key was used with another payload", field="idempotency_key")
        if answer[0] == "lost":
            raise Unavailable("some lines of the batch were lost: send it again", retry_after_s=RETRY_AFTER_S)
        return answer[1], answer[0] == "replayed"

    def find(self, batch_id: str, owner: str) -> Batch | None:
        """The batch as its owner sees it; None when there is none, or it is somebody else's."""
        return next(iter(self.read([batch_id], owner)), None)

    def read(self, ids: Sequence[str], owner: str) -> list[Batch]:
        """Those of some batches that are there and this owner's, in one round trip."""
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            clock.ask(pipe)
            for batch_id in ids:
                pipe.hgetall(keys.batch(batch_id))
                pipe.zrevrange(keys.settled_items(batch_id), 0, batch_record.RATE_OVER - 1, withscores=True)
            time, seen, *rows = pipe.execute()
        now_us = clock.now_us(time, seen)
        return [
            batch_record.batch(batch_id, values, [us for _, us in latest], now_us=now_us)
            for batch_id, values, latest in zip(ids, rows[::2], rows[1::2], strict=True)
            if values and values["owner"] == owner
        ]

    def statuses(self, ids: Sequence[str]) -> list[str | None]:
        """The states of some batches; None of one that is gone."""
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            for batch_id in ids:
                pipe.hget(keys.batch(batch_id), "status")
            return cast(list[str | None], pipe.execute())

    def cancel(self, batch_id: str) -> list[Message]:
        """Say that a batch is to be ended; what is left of it is ended behind this. Returns messages to send."""
        return messages(self._scripts.call("cancel_batch", [keys.batch(batch_id)], [batch_id]))

    def retry(self, batch_id: str) -> list[Message]:
        """Begin another round of a batch that is over. Raises BatchBusy, and InvalidRequest when nothing is left."""
        args = [batch_id, steps.KEEP_S * 1000, steps.QUEUE, int(Priority.INTERACTIVE), secrets.token_hex(8)]
        word, *rest = self._scripts.call("retry_batch", [keys.batch(batch_id)], args)
        if word == "busy":
            raise BatchBusy(f"the batch is {rest[0]}: a round begins when the one before is over")
        if word == "nothing":
            raise InvalidRequest("there is no item to run again")
        return messages(rest)

    def pause(self, batch_id: str, *, paused: bool) -> list[Message]:
        """Hold the shards of a batch, or let them go: messages to send. Raises BatchBusy when it is not in progress.

        In pieces: what one that is broken off did not come to is seen to by workers.
        """
        found, more, start = list[Message](), True, 0
        while more:
            some, more = self.pause_some(batch_id, paused=paused, start=start)
            found += some
            start += steps.SHARDS_AT_ONCE
        return found

    def pause_some(
        self, batch_id: str, *, paused: bool, start: int, most: int = steps.SHARDS_AT_ONCE
    ) -> tuple[list[Message], bool]:
        """One piece of the same, for `most` shards from the one at `start`, or from where it was resumed to: messages,
        and whether there is more to do."""
        args = [batch_id, int(paused), start, most]
        word, *rest = self._scripts.call("pause_batch", [keys.batch(batch_id)], args)
        if word == "over" and start == 0:
            raise BatchBusy("the batch is not in progress")
        return messages(rest), word == "more"

    def forget(self, batch_id: str, owner: str) -> bool:
        """Have a batch erased. False when this owner has, and lately had, no such batch."""
        names = [keys.batch(batch_id), keys.owner_batches(owner), keys.erased(batch_id)]
        args = [batch_id, owner, ERASED_KEPT_S, steps.KEEP_S * 1000, steps.QUEUE, int(Priority.INTERACTIVE)]
        return bool(self._scripts.call("forget_batch", names, args))

    def page(self, owner: str, *, limit: int, after: str | None) -> list[str]:
        """Ids of an owner's batches, newest first, from behind `after`. Raises BatchNotFound for an unknown `after`."""
        index = keys.owner_batches(owner)
        with renamed():
            created_us = self._redis.zscore(index, after) if after else None
            if after and created_us is None:
                raise BatchNotFound(f"no batch {after} to go on behind", field="after")
            below = "+inf" if created_us is None else f"({created_us:.0f}"
            return cast(list[str], self._redis.zrevrangebyscore(index, below, "-inf", start=0, num=limit))

    def settled(self, batch_id: str, after_us: float) -> list[tuple[int, float]]:
        """Items that have ended after a moment, the first of them: (number, when in µs)."""
        with renamed():
            found = self._redis.zrangebyscore(
                keys.settled_items(batch_id), f"({after_us:.0f}", "+inf", start=0, num=steps.AT_ONCE, withscores=True
            )
        return [(int(n), at) for n, at in cast(list[tuple[str, float]], found)]

    def invalid(self, batch_id: str, start: int) -> list[InvalidItem]:
        """Items that are not valid, from the one at `start`."""
        with renamed():
            found = self._redis.lrange(keys.invalid_items(batch_id), start, start + steps.AT_ONCE - 1)
        return [InvalidItem(**json.loads(text)) for text in cast(list[str], found)]


@cache
def default() -> Batches:
    """The records on this process' Redis."""
    return Batches(connection.default(), ttl_s=settings.get().job_ttl_s)
