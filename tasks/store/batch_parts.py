"""What a batch is made of: its items, what their shards are composed of, the shards, and the plan of it all."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.domain.batch import ENDS
from tasks.domain.job import Priority
from tasks.store.answers import Question


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

    def args(self) -> list[Any]:
        """As the script `expand` takes it."""
        fields = {**self.fields, **self.question.fields()} if self.question else self.fields
        pairs = [part for pair in fields.items() for part in pair]
        shared = self.question.keys() if self.question else ["", ""]
        return [self.id, self.custom_id, self.n, *shared, self.message, len(pairs), *pairs]


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
PLAN = ["status", "owner", "lines", "chunks", "expanded", "reset_lines", "invalid", "round", "expires_at", "options",
        "cancel_wanted", "erase", "may_simulate", *(end.value for end in ENDS)]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What workers need to know of a batch. `lines` is the number of its last line; they lie in so many `chunks`, of
    which the first `expanded` have been read; in a further round the first `reset_lines` lines have been put back.
    `options` as BatchOptions.to_json wrote them. `is_unwanted`: it was cancelled or erased while it was read,
    `is_erased`: erased. `may_simulate`: only the sandbox was there when it was accepted, and may answer it. `ended`:
    how many items have ended, by how. `ends_at`: the deadline by this process' time.monotonic()."""

    status: str
    owner: str
    lines: int
    chunks: int
    expanded: int
    reset_lines: int
    invalid: int
    round: int
    ends_at: float
    options: Mapping[str, Any]
    is_unwanted: bool
    is_erased: bool
    may_simulate: bool
    ended: Mapping[str, int]

    @property
    def priority(self) -> Priority:
        """That of its items and shards."""
        return Priority(self.options.get("priority", Priority.NORMAL))

    @property
    def left_s(self) -> float:
        """Until its deadline; not positive when that has passed. Its worker's own clock does not count."""
        return self.ends_at - time.monotonic()

    @classmethod
    def read(cls, said: Sequence[str | None], *, now_us: float) -> Plan:
        """From the values of PLAN, read at this moment; what is not there is 0."""
        values = {name: value or "0" for name, value in zip(PLAN, said, strict=True)}
        return cls(
            status=values["status"],
            owner=values["owner"],
            lines=int(values["lines"]),
            chunks=int(values["chunks"]),
            expanded=int(values["expanded"]),
            reset_lines=int(values["reset_lines"]),
            invalid=int(values["invalid"]),
            round=int(values["round"]),
            ends_at=time.monotonic() + float(values["expires_at"]) / 1000 - now_us / 1e6,
            options=json.loads(values["options"]),
            is_unwanted=values["cancel_wanted"] == "1",
            is_erased=values["erase"] == "1",
            may_simulate=values["may_simulate"] == "1",
            ended={end.value: int(values[end.value]) for end in ENDS},
        )
