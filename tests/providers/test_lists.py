"""What counts as a model's name in a provider's list."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.domain.provider_errors import InvalidResponse
from tasks.providers import lists


def test_what_is_no_name_is_left_out() -> None:
    odd: list[Any] = [None, 5, "text", {}, {"id": 5}, {"id": ""}, {"id": "a b"}, {"id": "a//b"}, {"id": "x" * 201}]
    named = [{"id": "a/b-1.5:free"}, {"id": "ünïcode"}, {"id": "a/b-1.5:free"}]
    assert lists.ids({"data": [*odd, *named]}) == {"a/b-1.5:free", "ünïcode"}


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"id": "a"}}, {"data": [{}] * (lists.MOST + 1)}])
def test_what_is_no_list_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidResponse):
        lists.ids(body)
