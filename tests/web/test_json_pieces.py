"""A JSON body in pieces is the body."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest

from web.json_pieces import Pieces

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
#: Every bracket in it is one.
NESTED = st.recursive(
    st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner)
)


class Slow(io.BytesIO):
    """Gives a few bytes at a time."""

    def __init__(self, data: bytes, at_once: int) -> None:
        super().__init__(data)
        self._at_once = at_once

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(self._at_once, size if size and size > 0 else self._at_once))


@given(st.lists(VALUES, max_size=5), st.integers(1, 9), st.sampled_from([None, 1]), st.booleans())
def test_the_values_of_a_list_come_as_they_stand(
    found: list[object], at_once: int, indent: int | None, plain: bool
) -> None:
    body = json.dumps(found, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    pieces = Pieces(Slow(body, at_once), longest=10_000)
    assert [json.loads(value) for value in pieces.values()] == found
    assert pieces.peek() == b""


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.integers(1, 9))
def test_the_entries_of_an_object_come_as_they_stand(found: dict[str, object], at_once: int) -> None:
    pieces = Pieces(Slow(json.dumps(found).encode(), at_once), longest=10_000)
    assert {json.loads(name): json.loads(pieces.value()) for name in pieces.names()} == found


@given(st.lists(VALUES, min_size=1, max_size=3), st.data())
def test_what_ends_too_soon_is_refused(found: list[object], data: st.DataObject) -> None:
    body = json.dumps(found).encode()
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(BadRequest):
        list(Pieces(io.BytesIO(body[:cut]), longest=10_000).values())


@given(st.lists(NESTED, min_size=1, max_size=3), st.data())
def test_a_bracket_of_another_kind_is_refused(found: list[object], data: st.DataObject) -> None:
    body = json.dumps(found)
    at = data.draw(st.sampled_from([at for at, one in enumerate(body) if one in "]}"]))
    other = "]" if body[at] == "}" else "}"
    with pytest.raises(BadRequest):
        list(Pieces(io.BytesIO((body[:at] + other + body[at + 1 :]).encode()), longest=10_000).values())
