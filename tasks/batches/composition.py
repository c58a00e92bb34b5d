"""Which items a shard carries: those that go to the same place and begin alike, about the same work in each.

An engine need not compute again what a prompt has in common with one that it had lately (its prefix cache). So items
are put next to each other by how they begin, over the whole batch. The text itself stays in the records of the items:
what is kept beside the batch until its shards are composed are hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tasks.domain import prefix
from tasks.store.batch_parts import Load, NewShard, Weighed

#: Items of one shard at the most: enough that a batch of 50,000 is a chord of some hundred parts.
ITEMS = 100
#: Tokens of one shard, prompts and answers: a hundred items of a thousand each. One item may have more.
TOKENS = 100_000
#: Where that would make more shards than this, all of them are larger: the messages of a batch are sent at once.
SHARDS = 1000


def loads(records: Iterable[tuple[int, Mapping[str, str]]]) -> list[Load]:
    """What has to be known of some items to compose them, from (line, fields of the record), in the order of lines."""
    found: dict[tuple[tuple[str, str], ...], list[Weighed]] = {}
    for line, fields in records:
        place = tuple((name, fields[name]) for name in ("queue", "target", "patience") if name in fields)
        tokens = int(fields.get("prompt_tokens", 0)) + int(fields.get("most_tokens", 0))
        found.setdefault(place, []).append(Weighed(line, tokens, prefix.of(fields["request"])))
    return [Load(place=dict(place), items=items) for place, items in found.items()]


def shards(all_loads: Iterable[Load], *, number: int) -> list[NewShard]:
    """The shards of a batch's round `number`. The same loads make the same shards: it may be broken off and done again.

    Those of several places take turns, so that no place waits for another's last.
    """
    places: dict[tuple[tuple[str, str], ...], list[Weighed]] = {}
    for load in all_loads:
        places.setdefault(tuple(load.place.items()), []).extend(load.items)
    most_tokens = max(TOKENS, sum(one.tokens for items in places.values() for one in items) // SHARDS)
    turns: list[tuple[float, dict[str, str], Sequence[int]]] = []
    for place, items in places.items():
        cut = list(_cut(_side_by_side(items), most_tokens))
        turns += [(nth / len(cut), dict(place), numbers) for nth, numbers in enumerate(cut)]
    turns.sort(key=lambda turn: turn[0])
    return [NewShard(name=f"{number}-{nth}", place=place, numbers=some) for nth, (_, place, some) in enumerate(turns)]


def _side_by_side(items: Sequence[Weighed]) -> list[Weighed]:
    """Items that begin alike, the longer the closer. Each group is where its first item was; so items that have nothing
    in common stay in the order of their lines, as do those with all in common."""
    first: dict[str, int] = {}
    for one in items:
        for beginning in prefix.beginnings(one.prefix):
            first.setdefault(beginning, one.n)
    return sorted(items, key=lambda one: (*(first[beginning] for beginning in prefix.beginnings(one.prefix)), one.n))


def _cut(items: Iterable[Weighed], most_tokens: int) -> Iterator[list[int]]:
    numbers: list[int] = []
    tokens = 0
    for one in items:
        if numbers and (len(numbers) == ITEMS or tokens + one.tokens > most_tokens):
            yield numbers
            numbers, tokens = [], 0
        numbers.append(one.n)
        tokens += one.tokens
    if numbers:
        yield numbers
