"""Items of batches, line by line: read, or told what is wrong with them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches import reading
from tasks.batches.reading import Item
from tasks.domain.batch import InvalidItem
from tasks.domain.job import Kind, Mode

LONGEST = 1000


def read(text: bytes, **defaults: object) -> Item | InvalidItem:
    return reading.read(reading.entry(7, text, longest=LONGEST).decode(), {"defaults": defaults})


def item(**fields: object) -> bytes:
    return json.dumps({"custom_id": "a", **fields}).encode()


WRONG: dict[str, tuple[bytes, str, str | None]] = {
    "not UTF-8": (b'{"custom_id": "\xff"}', "invalid_line", None),
    "too long": (item(prompt="x" * LONGEST), "invalid_line", None),
    "no JSON": (b"not json", "invalid_json", None),
    "two values": (item(prompt="x") * 2, "invalid_json", None),
    "a nested bomb": (b"[" * 900, "invalid_json", None),
    "NaN": (b'{"custom_id": "a", "prompt": "x", "temperature": NaN}', "invalid_json", None),
    "a number of hundreds of digits": (b'{"custom_id": "a", "prompt": "x", "seed": %s}' % (b"9" * 900), "invalid_item",
                                       "seed"),
    "a key twice": (b'{"custom_id": "a", "custom_id": "b", "prompt": "x"}', "invalid_json", "custom_id"),
    "a list": (b"[]", "invalid_item", None),
    "null": (b"null", "invalid_item", None),
    "no custom_id": (b'{"prompt": "x"}', "invalid_item", "custom_id"),
    "an empty custom_id": (b'{"custom_id": "", "prompt": "x"}', "invalid_item", "custom_id"),
    "a custom_id that is a number": (b'{"custom_id": 1, "prompt": "x"}', "invalid_item", "custom_id"),
    "no prompt": (item(), "invalid_item", "messages"),
    "an unknown field": (item(prompt="x", colour=1), "invalid_item", "colour"),
    "a field out of range": (item(prompt="x", temperature=3), "invalid_item", "temperature"),
    "a deadline of its own": (item(prompt="x", expires_in_s=1), "invalid_item", "expires_in_s"),
    "a key of its own": (item(prompt="x", idempotency_key="k"), "invalid_item", "idempotency_key"),
    "an embedding without a model": (item(input=["x"]), "invalid_item", "model"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "code", "field"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_by_line_and_field(text: bytes, code: str, field: str | None) -> None:
    found = read(text)
    assert isinstance(found, InvalidItem)
    assert (found.line, found.code, found.field) == (7, code, field)
    assert 0 < len(found.message) < 200


def test_an_item_is_a_job_with_what_the_batch_says_of_all() -> None:
    found = read(item(prompt="x", max_tokens=3), max_tokens=9, mode="api", model="m")
    assert isinstance(found, Item)
    assert (found.custom_id, found.asked.mode, found.asked.model, found.asked.kind) == ("a", Mode.API, "m", Kind.CHAT)
    assert found.asked.request.to_json()["max_tokens"] == 3


def test_what_editors_and_exports_add_is_told_of() -> None:
    marked = read(b"\xef\xbb\xbf" + item(prompt="x"))
    halves = '{"custom_id": "a"}\n{"custom_id": "b"}\n'.encode("utf-16-le").split(b"\n")[:2]
    for found, told in ((marked, "byte order mark"), *((read(half), "UTF-16") for half in halves)):
        assert isinstance(found, InvalidItem)
        assert told in found.message


def test_a_place_in_a_line_is_not_told_as_that_of_another_line() -> None:
    found = read(b"not json")
    assert isinstance(found, InvalidItem)
    assert found.message == "the line is not JSON: Expecting value at column 1"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_item_or_wrong(text: bytes) -> None:
    assert isinstance(read(text.replace(b"\n", b" ")), Item | InvalidItem)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_fields_are_an_item_or_wrong(value: object) -> None:
    assert isinstance(read(item(prompt=value)), Item | InvalidItem)
