"""Which items go together: those of one place that begin alike, about the same work in each shard."""

from __future__ import annotations

import json
from itertools import groupby

from tasks.batches import composition
from tasks.domain import prefix
from tasks.store.batch_parts import Load, NewShard

RULES = [f"You are clerk {name}. " + f"Rule {name}: be brief. " * 60 for name in "ABCD"]


def request(question: str, system: str | None = None) -> str:
    turns = [{"role": "system", "content": system}] if system else []
    return json.dumps({"messages": [*turns, {"role": "user", "content": question}], "max_tokens": 8})


def record(text: str, *, tokens: int = 10, queue: str = "gpu", target: str = "", most: int = 8) -> dict[str, str]:
    return {
        "queue": queue, "target": target, "prompt_tokens": str(tokens), "most_tokens": str(most), "request": text,
    }  # fmt: skip


def composed(records: list[dict[str, str]], *, chunk: int = 100) -> list[NewShard]:
    """The shards of a batch whose lines came in such chunks, kept as they are kept."""
    numbered = list(enumerate(records, 1))
    chunks = [composition.loads(numbered[at : at + chunk]) for at in range(0, len(numbered), chunk)]
    return composition.shards([Load.read(load.text()) for loads in chunks for load in loads], number=1)


def order(shards: list[NewShard]) -> list[int]:
    return [n for shard in shards for n in shard.numbers]


def test_items_that_begin_alike_are_side_by_side_over_the_whole_batch() -> None:
    records = [record(request(f"question {n}", RULES[n % 4])) for n in range(1000)]
    shards = composed(records)
    clerks = [(n - 1) % 4 for n in order(shards)]
    assert [clerk for clerk, _ in groupby(clerks)] == [0, 1, 2, 3]
    assert sorted(order(shards)) == list(range(1, 1001))
    for clerk in range(4):
        of_one = [n for n in order(shards) if (n - 1) % 4 == clerk]
        assert of_one == sorted(of_one), "not by line within a group"


def test_the_longer_the_beginning_the_closer() -> None:
    """A document in the user's message, behind rules that all have: what is asked of one document is together."""
    documents = [f"Document {name}. " + f"The text of {name}. " * 200 for name in "PQR"]
    records = [record(request(documents[n % 3] + f"Question {n}?", RULES[n % 2])) for n in range(60)]
    kinds = [((n - 1) % 2, (n - 1) % 3) for n in order(composed(records))]
    runs = [kind for kind, _ in groupby(kinds)]
    assert len(runs) == 6
    assert [rules for rules, _ in groupby(rules for rules, _ in runs)] == [0, 1]


def test_items_with_nothing_in_common_stay_in_the_order_of_their_lines() -> None:
    long = [record(request(f"{n} is the number of this text. " * 40)) for n in range(150)]
    short = [record(request(f"question {n}")) for n in range(150)]
    mixed = [one for pair in zip(long, short, strict=True) for one in pair]
    assert order(composed(mixed)) == list(range(1, 301))


def test_a_shard_has_a_hundred_items_at_the_most() -> None:
    sizes = [len(shard.numbers) for shard in composed([record(request("q"))] * 250)]
    assert sizes == [100, 100, 50]


def test_shards_are_cut_by_tokens() -> None:
    small, huge = record(request("q"), tokens=10), record(request("q"), tokens=3 * composition.TOKENS)
    middle = record(request("q"), tokens=composition.TOKENS // 10, most=0)
    shards = composed([*[small] * 5, huge, *[small] * 5, *[middle] * 20])
    assert [len(shard.numbers) for shard in shards] == [5, 1, 14, 10, 1]
    assert order(shards) == list(range(1, 32))


def test_answers_are_weighed_too_but_large_batches_have_no_end_of_shards() -> None:
    asked = record(request("q"), tokens=10, most=composition.TOKENS)
    assert [len(shard.numbers) for shard in composed([asked] * 5)] == [1] * 5
    assert len(composed([asked] * 20_000)) <= 2 * composition.SHARDS


def test_places_are_kept_apart_and_take_turns() -> None:
    here, there = record(request("q")), record(request("q"), queue="api", target="big")
    away = here | {"patience": "5000"}
    shards = composed([here, there, away] * 200)
    assert [shard.name for shard in shards] == [f"1-{nth}" for nth in range(6)]
    assert [dict(shard.place) for shard in shards[:3]] == [
        {"queue": "gpu", "target": ""}, {"queue": "api", "target": "big"},
        {"queue": "gpu", "target": "", "patience": "5000"},
    ]  # fmt: skip
    assert [shard.place for shard in shards[:3]] == [shard.place for shard in shards[3:]]
    assert [[(n - 1) % 3 for n in shard.numbers] for shard in shards] == [[kind] * 100 for kind in (0, 1, 2)] * 2


def test_what_is_kept_of_an_item_is_small_and_none_of_its_text() -> None:
    [load] = composition.loads([(n, record(request("secret words " * 10_000), tokens=40_000)) for n in range(100)])
    assert len(load.text()) < 60 * 100
    assert "secret" not in load.text()
    [load] = composition.loads([(n, record(request("secret"))) for n in range(100)])
    assert len(load.text()) < 30 * 100


def test_a_beginning_is_told_by_what_comes_before_its_end() -> None:
    one, other = "x" * 1000 + "a" * 9000, "x" * 1000 + "b" * 9000
    pairs = list(zip(prefix.beginnings(prefix.of(one)), prefix.beginnings(prefix.of(other)), strict=True))
    assert [a == b for a, b in pairs] == [True, True, False, False, False, False]
    assert prefix.of("é" * 127) == ""
    assert len(prefix.of("é" * 128)) == prefix.HASH_CHARS
