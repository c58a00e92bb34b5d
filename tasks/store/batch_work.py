"""The records of batches, as workers deal with them: read the lines, write the items, begin, end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

from redis import Redis

from tasks import settings
from tasks.domain import prefix
from tasks.domain.batch import InvalidItem
from tasks.domain.job import Priority, Status
from tasks.store import clock, connection, keys, steps
from tasks.store.batch_parts import PLAN, WEIGHED, Load, NewItem, NewShard, Plan
from tasks.store.jobs import ERASED_KEPT_S
from tasks.store.message import Message, messages
from tasks.store.scripts import Scripts, renamed
from tasks.store.steps import Step

#: Items that one script ends or puts back, at up to a hundred microseconds each: two milliseconds or so.
ITEMS_AT_ONCE = 25


class BatchWork:
    """What is to be done for the batches on one Redis. Every method raises Unavailable when Redis is away or full."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._ttl_s = ttl_s

    def plan(self, batch_id: str) -> Plan | None:
        """What workers need to know of a batch; None when it is gone."""
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            clock.ask(pipe)
            pipe.hmget(keys.batch(batch_id), PLAN)
            time, seen, said = pipe.execute()
        return None if said[0] is None else Plan.read(said, now_us=clock.now_us(time, seen))

    def lines(self, batch_id: str, number: int) -> list[str]:
        """The lines of one chunk, each behind its number and a blank."""
        with renamed():
            return cast(list[str], self._redis.lrange(keys.chunk(batch_id, number), 0, -1))

    def expand(
        self,
        batch_id: str,
        chunk: int,
        items: Iterable[NewItem],
        loads: Iterable[Load],
        invalid: Iterable[InvalidItem],
        *,
        priority: Priority = Priority.NORMAL,
    ) -> bool:
        """Write the items of a chunk, and what is wrong with those that are none: one whose custom_id was there before
        is not, either. False when the batch is over."""
        flat: list[Any] = []
        for item in items:
            flat += item.args()
        args = [batch_id, chunk, int(priority), json.dumps([load.text() for load in loads])]
        texts = json.dumps([json.dumps(vars(one)) for one in invalid])
        names = [keys.batch(batch_id), keys.item_names(batch_id), keys.invalid_items(batch_id)]
        names += [keys.chunk(batch_id, chunk), keys.loads(batch_id)]
        return str(self._scripts.call("expand", names, [*args, texts, self._ttl_s, *flat])) != "gone"

    def loads(self, batch_id: str) -> Iterator[Load]:
        """What the shards are composed of, in the order of chunks; nothing once the batch has begun."""
        start = 0
        while found := self._loads(batch_id, start):
            yield from map(Load.read, found)
            start += len(found)

    def _loads(self, batch_id: str, start: int) -> list[str]:
        with renamed():
            return cast(list[str], self._redis.lrange(keys.loads(batch_id), start, start + steps.AT_ONCE - 1))

    def add_shards(
        self, batch_id: str, first: int, shards: Iterable[NewShard], *, priority: Priority = Priority.NORMAL
    ) -> None:
        """Add shards behind the `first` that are there; those that are known change nothing."""
        flat: list[Any] = []
        for one in shards:
            request = json.dumps({"numbers": list(one.numbers)})
            flat += [one.name, one.place["queue"], one.place["target"], request, one.place.get("patience", "")]
        args = [batch_id, first, steps.KEEP_S * 1000, int(priority), *flat]
        self._scripts.call("add_shards", [keys.batch(batch_id), keys.shards(batch_id)], args)

    def begin(self, batch_id: str, *, accept: bool, stop_after: float | None) -> list[Message]:
        """Let the shards of a batch go, or end it as not valid. Returns the messages to send.

        In pieces: broken off between two and done again it goes on, and the messages of the first are lost ones.
        """
        found, more = list[Message](), True
        while more:
            some, more = self.begin_some(batch_id, accept=accept, stop_after=stop_after)
            found += some
        return found

    def begin_some(
        self, batch_id: str, *, accept: bool, stop_after: float | None, most: int = steps.SHARDS_AT_ONCE
    ) -> tuple[list[Message], bool]:
        """One piece of the same, for `most` shards: messages, and whether there is more to do."""
        share = "" if stop_after is None else stop_after
        args = [batch_id, steps.KEEP_S * 1000, steps.QUEUE, int(Priority.INTERACTIVE), int(accept), share, self._ttl_s]
        word, *rest = self._scripts.call("begin_batch", [keys.batch(batch_id)], [*args, most])
        return messages(rest), word == "more"

    def conclude(self, batch_id: str, *, has_last: bool, most: int = steps.SHARDS_AT_ONCE) -> list[str]:
        """End the batch if it is over, when its shards are dropped, `most` at a time; the words of conclude.lua."""
        args = [batch_id, int(has_last), self._ttl_s, most]
        return [str(word) for word in self._scripts.call("conclude", [keys.batch(batch_id)], args)]

    def rest(self, step: Step, *, delay_s: float = 0.0) -> bool:
        """Let the last step of a batch rest, until an item's end wakes it. False when it is wanted again at once."""
        args = [step.job_id, step.owner, int(delay_s * 1000)]
        return int(self._scripts.call("rest_batch", [keys.batch(step.batch_id), keys.job(step.job_id)], args)) != 2

    def set_last(self, batch_id: str, *, job_id: str = "", error: Mapping[str, str] | None = None) -> str:
        """Say which job runs over the results, or why none does: set, late or gone, as set_last.lua has it."""
        args = [job_id, json.dumps(error or None)]
        return str(self._scripts.call("set_last", [keys.batch(batch_id)], args))

    def erase_last(self, job_id: str) -> None:
        """Erase a job over the results of a batch that is erased; one that runs is cut."""
        with renamed():
            owner = cast(str | None, self._redis.hget(keys.job(job_id), "owner"))
            # Nobody waits for its end any more.
            self._redis.hdel(keys.job(job_id), "last_of")
        if owner is not None:
            names = [keys.job(job_id), keys.owner_jobs(owner), keys.erased(job_id)]
            self._scripts.call("erase", names, [job_id, owner, ERASED_KEPT_S])

    def erase_items(self, ids: Sequence[str]) -> None:
        """Erase items of which none is unfinished."""
        with renamed():
            self._redis.unlink(*map(keys.job, ids))

    def end_items(self, ids: Sequence[str], *, status: str, why: str) -> int:
        """End those of some items that are not over; how many."""
        # Each piece in a round trip of its own: Redis runs what comes in one without a look at anybody else.
        pieces = [ids[n : n + ITEMS_AT_ONCE] for n in range(0, len(ids), ITEMS_AT_ONCE)]
        return sum(int(self._scripts.call("end_items", [], [status, why, self._ttl_s, *piece])) for piece in pieces)

    def write_off(self, batch_id: str, round_: int, *, status: str) -> int:
        """Count items that have no record as ended, when all others have; how many."""
        return int(self._scripts.call("write_off", [keys.batch(batch_id)], [round_, status]))

    def give_up(self, batch_id: str, *, code: str, why: str) -> bool:
        """End a batch that is being read, as failed. False when it is not any more."""
        args = [batch_id, code, why, self._ttl_s, steps.SHARDS_AT_ONCE]
        while (said := int(self._scripts.call("give_up_batch", [keys.batch(batch_id)], args))) == 2:
            pass  # shards were dropped, and there are more
        return bool(said)

    def let_lapse(self, batch_id: str, at_ms: str, ids: Sequence[str], *, is_last: bool = False) -> bool:
        """Let some items of a batch that is over lapse with it. False when a further round has begun."""
        return bool(self._scripts.call("let_lapse", [keys.batch(batch_id)], [at_ms, int(is_last), *ids]))

    def unanswered(self, ids: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
        """Those of some items that ended without an answer: (line, what of the record their shards depend on)."""
        answer = self._scripts.call("unanswered", [], [prefix.LENGTHS[-1], *ids])
        rows = [answer[i : i + 1 + len(WEIGHED)] for i in range(0, len(answer), 1 + len(WEIGHED))]
        named = [(int(line), dict(zip(WEIGHED, values, strict=True))) for line, *values in rows]
        return [
            (line, {name: value for name, value in fields.items() if name != "patience" or value})
            for line, fields in named
        ]

    def seen(self, ids: Sequence[str]) -> list[str]:
        """The requests (JSON) of those of some items that have images and no answer."""
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.hmget(keys.job(job_id), "images", "status")
            rows = zip(ids, pipe.execute(), strict=True)
            for job_id in [i for i, (images, status) in rows if images and status != Status.COMPLETED]:
                pipe.hget(keys.job(job_id), "request")
            return [text for text in cast(list[str | None], pipe.execute()) if text is not None]

    def reset_items(
        self,
        batch_id: str,
        before: int,
        ids: Sequence[str],
        loads: Iterable[Load],
        *,
        priority: Priority = Priority.NORMAL,
    ) -> int:
        """Put those of some items back that ended without an answer; how many. `before`: lines before these."""
        args = [batch_id, before, int(priority), json.dumps([load.text() for load in loads]), *ids]
        return int(self._scripts.call("reset_items", [keys.batch(batch_id), keys.loads(batch_id)], args))

    def erase(self, batch_id: str, rounds: int) -> None:
        """Erase the record of a batch whose items are gone, and the steps of its rounds. The record last."""
        done = ["expand", *(f"retry-{number}" for number in range(2, rounds + 1))]
        with renamed():
            self._redis.unlink(keys.invalid_items(batch_id), keys.settled_items(batch_id), keys.item_names(batch_id))
            self._redis.unlink(keys.loads(batch_id), *(keys.job(steps.step_id(batch_id, name)) for name in done))
            self._redis.delete(keys.batch(batch_id))

    def unclaimed(self, ids: Sequence[str]) -> list[tuple[str, int]]:
        """Those of some items that their shard has still to run, each with its epoch."""
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.hmget(keys.job(job_id), "phase", "epoch")
            rows = pipe.execute()
        return [(i, int(epoch)) for i, (phase, epoch) in zip(ids, rows, strict=True) if phase == "shard"]


@cache
def default() -> BatchWork:
    """The same on this process' Redis."""
    return BatchWork(connection.default(), ttl_s=settings.get().job_ttl_s)
