"""JSON in JSON in JSON: 64 levels are read, more are refused, and finding out costs no more than reading."""

from __future__ import annotations

import pytest

from tasks.domain.errors import InvalidRequest
from tasks.schemas import strict_json
from tasks.schemas.strict_json import DEEPEST


def nested(levels: int) -> str:
    return (
        "".join('{"a":[' if level % 2 else "[[" for level in range(levels // 2))
        + "1"
        + "".join("]}" if level % 2 else "]]" for level in reversed(range(levels // 2)))
    )


def test_what_is_nested_as_deep_as_may_be_is_read() -> None:
    strict_json.loads(nested(DEEPEST).encode())


@pytest.mark.parametrize("levels", [DEEPEST + 2, 500, 100_000])
def test_what_is_nested_deeper_is_refused(levels: int) -> None:
    with pytest.raises(InvalidRequest, match="64 deep"):
        strict_json.loads(nested(levels).encode())


def test_many_beside_each_other_are_not_deep() -> None:
    assert len(strict_json.loads(b"[" + b"[]," * 100_000 + b'"' + b"[" * 500 + b'"]')) == 100_001
