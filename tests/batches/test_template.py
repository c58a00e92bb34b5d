"""The texts of the job over a batch's results."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tasks.batches import template
from tasks.batches.template import Result, TooLong

RESULTS = [
    {"custom_id": "a", "status": "completed", "content": "first", "error": ""},
    {"custom_id": "b", "status": "failed", "content": "", "error": "no"},
]
COUNTS = {"total": 2, "completed": 1, "failed": 1, "cancelled": 0, "expired": 0}


def filled(text: object, most: int = 1000) -> object:
    return template.filled({"prompt": text, "model": "{{total}}"}, RESULTS, COUNTS, most=most)["prompt"]


def test_a_section_is_repeated_and_words_are_filled_in() -> None:
    assert filled("{{completed}}/{{total}}{{#results}} {{custom_id}}:{{content}}{{error}}{{/results}}.") == (
        "1/2 a:first b:no."
    )
    assert filled("{{unknown}} {{/results}} {{#results}}") == "{{unknown}} {{/results}} {{#results}}"


def test_messages_and_their_parts_are_texts_too() -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "{{failed}}"}]},
        {"role": "{{total}}", "content": "{{total}}"},
    ]
    assert template.filled({"messages": messages}, RESULTS, COUNTS, most=100)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "1"}]},
        {"role": "{{total}}", "content": "2"},
    ]
    assert template.filled({"model": "{{total}}"}, RESULTS, COUNTS, most=100) == {"model": "{{total}}"}


def test_an_answer_is_no_template() -> None:
    results = [
        {
            "custom_id": "{{total}}",
            "status": "completed",
            "content": "{{#results}}{{custom_id}}{{/results}}",
            "error": "",
        }
    ]
    text = template.filled({"prompt": "{{#results}}{{custom_id}} {{content}}{{/results}}"}, results, COUNTS, most=1000)
    assert text["prompt"] == "{{total}} {{#results}}{{custom_id}}{{/results}}"


def test_what_would_be_too_long_is_refused_before_it_is_made() -> None:
    many = [RESULTS[0]] * 50_000
    began = time.monotonic()
    with pytest.raises(TooLong):
        template.filled({"prompt": "{{#results}}" + "x" * 10_000 + "{{/results}}" * 100}, many, COUNTS, most=1_000_000)
    assert time.monotonic() - began < 5


def test_parts_that_come_to_nothing_have_an_end_too() -> None:
    many = [RESULTS[0]] * 50_000
    began = time.monotonic()
    with pytest.raises(TooLong):
        template.filled({"prompt": "{{#results}}{{error}}{{/results}}" * 10_000}, many, COUNTS, most=1_000_000)
    assert time.monotonic() - began < 5


def test_words_that_come_to_nothing_have_an_end_too() -> None:
    looked_at = 0

    def results() -> Iterator[Result]:
        nonlocal looked_at
        for looked_at in range(50_000):  # noqa: B007
            yield RESULTS[0]

    with pytest.raises(TooLong):
        template.filled({"prompt": "{{#results}}" + "{{error}}" * 10_000 + "{{/results}}"}, results(), COUNTS,
                        most=1_000_000)  # fmt: skip
    assert looked_at == 100


def test_parts_that_take_too_long_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MOST_CPU_S", 0.05)
    with pytest.raises(TooLong):
        template.filled({"prompt": "{{#results}}{{custom_id}}{{/results}}"}, [RESULTS[0]] * 500_000, COUNTS, most=10**9)


def test_parts_that_are_not_closed_are_text() -> None:
    text = "{{#results}}" * 1000 + "{{custom_id}}{{/results}}"
    assert filled(text, most=100_000) == "".join("{{#results}}" * 999 + one["custom_id"] for one in RESULTS)
    assert filled("{{#results}}" * 12_000) == "{{#results}}" * 12_000


def test_no_result_is_looked_at_where_no_text_asks_for_one() -> None:
    def never() -> Iterator[Result]:
        raise AssertionError("looked at")
        yield

    assert template.filled({"prompt": "{{total}}{{#results}}{{/results}}"}, never(), COUNTS, most=10) == {"prompt": "2"}
