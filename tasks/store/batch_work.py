"""The records of batches, as workers deal with them: read the lines, write the items, begin, end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

from redis import Redis

from tasks import settings
from tasks.domain import prefix
from tasks.domain.batch import InvalidItem
from tasks.domain.job import Priority
from tasks.store import connection, keys, steps
from tasks.store.answers import Question
from tasks.store.message import Message, messages
from tasks.store.scripts import Scripts, renamed
from tasks.store.steps import Step


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """An item to write: `n` is the number of its line, from 1; `fields` its record as strings. `message` is its Celery
    message, and `question` what it asks, where its answer may be shared."""

    id: str
    n: int
    custom_id: str
    fields: Mapping[str, str]
    message: str = ""
    question: Question | None = None


class Weighed(NamedTuple):
    """An item before it is in a shard: the number of its line, its tokens as estimated, and how its request begins
    (tasks.domain.prefix)."""

    n: int
    tokens: int
    prefix: str


@dataclass(frozen=True, kw_only=True)
class Load:
    """Items of one chunk that go to the same place, as a shard says it."""

    place: Mapping[str, str]
    items: Sequence[Weighed]

    def text(self) -> str:
        """As it is kept until all lines have been read: some 20 bytes for a short item, 50 for a long one."""
        return json.dumps([self.place, self.items], separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> Load:
        """The inverse of `text`."""
        place, items = json.loads(text)
        return cls(place=place, items=[Weighed(*item) for item in items])


@dataclass(frozen=True, kw_only=True)
class NewShard:
    """A run of items that one message carries. `place` is where they go: {queue, target, and patience of those that go
    elsewhere when there is no engine (ms, as a string)}."""

    name: str
    place: Mapping[str, str]
    numbers: Sequence[int]


#: The fields of an item's record that its shard depends on, as the script `unanswered` has them.
WEIGHED = ["queue", "target", "patience", "prompt_tokens", "most_tokens", "request"]
#: The fields of a record that a plan is made of.
PLAN = ["status", "owner", "lines", "chunks", "expanded", "invalid", "round", "expires_at", "options"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What workers need to know of a batch. `lines` is the number of its last line; they lie in so many `chunks`, of
    which the first `expanded` have been read; `options` as BatchOptions.to_json wrote them."""

    status: str
    owner: str
    lines: int
    chunks: int
    expanded: int
    invalid: int
    round: int
    expires_at_s: float
    options: Mapping[str, Any]


class BatchWork:
    """What is to be done for the batches on one Redis. Every method raises Unavailable when Redis is away or full."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._ttl_s = ttl_s

    def plan(self, batch_id: str) -> Plan | None:
        """What workers need to know of a batch; None when it is gone."""
        with renamed():
            said = cast(list[str | None], self._redis.hmget(keys.batch(batch_id), PLAN))
        values = {name: value or "0" for name, value in zip(PLAN, said, strict=True)}
        if said[0] is None:
            return None
        return Plan(
            status=values["status"],
            owner=values["owner"],
            lines=int(values["lines"]),
            chunks=int(values["chunks"]),
            expanded=int(values["expanded"]),
            invalid=int(values["invalid"]),
            round=int(values["round"]),
            expires_at_s=float(values["expires_at"]) / 1000,
            options=json.loads(values["options"]),
        )

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
    ) -> list[int] | None:
        """Write the items of a chunk: the numbers of those whose custom_id was there before; None when it is over."""
        flat: list[Any] = []
        for item in items:
            fields = {**item.fields, **item.question.fields()} if item.question else item.fields
            pairs = [part for pair in fields.items() for part in pair]
            shared = item.question.keys() if item.question else ["", ""]
            flat += [item.id, item.custom_id, item.n, *shared, item.message, len(pairs), *pairs]
        args = [batch_id, chunk, int(Priority.BATCH), json.dumps([load.text() for load in loads])]
        texts = json.dumps([json.dumps(vars(one)) for one in invalid])
        names = [keys.batch(batch_id), keys.item_names(batch_id), keys.invalid_items(batch_id)]
        names += [keys.chunk(batch_id, chunk), keys.loads(batch_id)]
        answer = self._scripts.call("expand", names, [*args, texts, self._ttl_s, *flat])
        return None if answer[0] == "gone" else [int(n) for n in answer[1:]]

    def note_invalid(self, batch_id: str, invalid: Sequence[InvalidItem]) -> None:
        """Keep what is wrong with items that are counted as invalid already."""
        with renamed():
            self._redis.rpush(keys.invalid_items(batch_id), *(json.dumps(vars(one)) for one in invalid))

    def loads(self, batch_id: str) -> Iterator[Load]:
        """What the shards are composed of, in the order of chunks; nothing once the batch has begun."""
        start = 0
        while found := self._loads(batch_id, start):
            yield from map(Load.read, found)
            start += len(found)

    def _loads(self, batch_id: str, start: int) -> list[str]:
        with renamed():
            return cast(list[str], self._redis.lrange(keys.loads(batch_id), start, start + steps.AT_ONCE - 1))

    def add_shards(self, batch_id: str, first: int, shards: Iterable[NewShard]) -> None:
        """Add shards behind the `first` that are there; those that are known change nothing."""
        flat: list[Any] = []
        for one in shards:
            request = json.dumps({"numbers": list(one.numbers)})
            flat += [one.name, one.place["queue"], one.place["target"], request, one.place.get("patience", "")]
        args = [batch_id, first, steps.KEEP_S * 1000, int(Priority.BATCH), *flat]
        self._scripts.call("add_shards", [keys.batch(batch_id), keys.shards(batch_id)], args)

    def begin(self, batch_id: str, *, accept: bool, stop_after: float | None) -> list[Message]:
        """Let the shards of a batch go, or end it as not valid. Returns the messages to send."""
        share = "" if stop_after is None else stop_after
        args = [batch_id, steps.KEEP_S * 1000, steps.QUEUE, int(Priority.INTERACTIVE), int(accept), share, self._ttl_s]
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

    def set_last(self, batch_id: str, *, job_id: str = "", error: Mapping[str, str] | None = None) -> None:
        """Say which job runs over the results, or why none does."""
        with renamed():
            self._redis.hset(
                keys.batch(batch_id), mapping={"last_job": job_id, "last_error": json.dumps(error or None)}
            )

    def erase_items(self, ids: Sequence[str]) -> None:
        """Erase items that were never let go."""
        with renamed():
            self._redis.delete(*map(keys.job, ids))

    def end_items(self, ids: Sequence[str], *, status: str, why: str) -> int:
        """End those of some items that are not over; how many."""
        return int(self._scripts.call("end_items", [], [status, why, self._ttl_s, *ids]))

    def write_off(self, batch_id: str, round_: int, *, status: str) -> int:
        """Count items that have no record as ended, when all others have; how many."""
        return int(self._scripts.call("write_off", [keys.batch(batch_id)], [round_, status]))

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

    def reset_items(self, batch_id: str, chunk: int, ids: Sequence[str], loads: Iterable[Load]) -> int:
        """Put those of a chunk's items back that ended without an answer; how many."""
        args = [batch_id, chunk, int(Priority.BATCH), json.dumps([load.text() for load in loads]), *ids]
        return int(self._scripts.call("reset_items", [keys.batch(batch_id), keys.loads(batch_id)], args))

    def erase(self, batch_id: str, rounds: int) -> None:
        """Erase the record of a batch whose items are gone, and the steps of its rounds. The record last."""
        done = ["expand", *(f"retry-{number}" for number in range(2, rounds + 1))]
        with renamed():
            self._redis.delete(keys.invalid_items(batch_id), keys.settled_items(batch_id), keys.item_names(batch_id))
            self._redis.delete(keys.loads(batch_id), *(keys.job(steps.step_id(batch_id, name)) for name in done))
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
