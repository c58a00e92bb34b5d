"""Half characters and NUL are refused by their place, and what is told of it can be kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches import output_lines, reading
from tasks.batches.reading import Item
from tasks.domain.batch import InvalidItem
from tasks.schemas.openai_bodies import CHAT

HALF = "\ud800"
TURNS = [{"role": "user", "content": "hi"}]


def read(said: Any, **openai: str) -> Item | InvalidItem:
    kept = reading.entry(7, json.dumps(said).encode(), longest=100_000).decode()
    return reading.read(kept, {"defaults": {}, **({"openai": openai} if openai else {})})


def line(**more: Any) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": CHAT, "body": {"messages": TURNS}, **more}


OURS: list[tuple[dict[str, Any], str]] = [
    ({"custom_id": HALF, "prompt": "x"}, "custom_id"),
    ({"custom_id": "a\0", "prompt": "x"}, "custom_id"),
    ({"custom_id": "a", "prompt": "\0"}, "prompt"),
    ({"custom_id": "a", "prompt": "x", HALF: 1}, r"\ud800"),
    ({"custom_id": "a", "prompt": "x", "metadata": {"b": {HALF: 1}}}, r"metadata.b.\ud800"),
    ({"custom_id": "a", "messages": [{"role": "user", "content": HALF}]}, "messages.0.content"),
    ({"custom_id": "a", "prompt": "x", "kind": HALF}, "kind"),
]


@pytest.mark.parametrize(("said", "field"), OURS)
def test_an_item_is_refused_by_the_place(said: dict[str, Any], field: str) -> None:
    found = read(said)
    assert isinstance(found, InvalidItem)
    assert (found.code, found.field) == ("invalid_item", field)


OPENAI: list[tuple[dict[str, Any], str, str, str | None]] = [
    (line(custom_id=HALF), "invalid_custom_id", "custom_id", None),
    (line(custom_id="\0"), "invalid_custom_id", "custom_id", None),
    (line(**{HALF: 1}), "unknown_parameter", r"\ud800", "a"),
    (line(body={"messages": TURNS, HALF: 1}), "invalid_request", r"\ud800", "a"),
    (line(body={"messages": [{"role": "user", "content": HALF}]}), "invalid_request", "messages.0.content", "a"),
]


@pytest.mark.parametrize(("said", "code", "field", "custom_id"), OPENAI)
def test_a_line_of_openais_is_refused_by_the_place(
    said: dict[str, Any], code: str, field: str, custom_id: str | None
) -> None:
    found = read(said, endpoint=CHAT)
    assert isinstance(found, InvalidItem)
    assert (found.code, found.field, found.custom_id) == (code, field, custom_id)
    assert json.loads(output_lines.of_invalid("batch_0", found))["custom_id"] == custom_id


def test_a_key_given_twice_is_told_in_text_that_can_be_kept() -> None:
    twice = b'{"custom_id": "a", "\\ud800": 1, "\\ud800": 2}'
    found = reading.read(reading.entry(7, twice, longest=1000).decode(), {"defaults": {}})
    assert isinstance(found, InvalidItem)
    assert found.field == r"\ud800"


TEXTS = st.text(st.characters(exclude_categories=()) | st.sampled_from("\0" + HALF), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["custom_id", "prompt", "metadata", "tools"]) | TEXTS, VALUES), st.booleans())
def test_whatever_a_line_says_what_comes_of_it_can_be_kept(said: dict[str, Any], is_openai: bool) -> None:
    found = read({"custom_id": "a", "prompt": "x", **said}) if not is_openai else read(line(body=said), endpoint=CHAT)
    texts = [found.custom_id, *((found.message, found.field) if isinstance(found, InvalidItem) else ())]
    told = "".join(filter(None, texts))
    assert told.encode("utf-8", "ignore").decode() == told
