"""Which successful bodies are answers, and what is read from them."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.domain import provider_errors as errors
from tasks.domain.result import ChatResult, Usage
from tasks.providers import answers


def result(finish_reason: str = "stop", **message: Any) -> ChatResult:
    body = {"choices": [{"finish_reason": finish_reason, "message": message}]}
    return answers.completion(body, model="m").result


@pytest.mark.parametrize(
    ("content", "reasoning", "answer"),
    [
        ("<think>hm</think>\n\nyes", "hm", "yes"),
        ("\n<think>\nhm\n</think>yes", "hm", "yes"),
        ("<think></think>yes", "", "yes"),
        ("yes, a <think> tag", None, "yes, a <think> tag"),
        ("  yes", None, "  yes"),
    ],
)
def test_leading_thoughts_are_taken_out_of_the_content(content: str, reasoning: str | None, answer: str) -> None:
    said = result(content=content)
    assert (said.reasoning, said.content) == (reasoning, answer)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_beside_the_content(name: str) -> None:
    said = result(content="yes", **{name: "hm"})
    assert (said.reasoning, said.content) == ("hm", "yes")


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "reasoning_content": "hm"},
        {"content": "", "reasoning": "hm"},
        {"content": "\n", "reasoning": "hm"},
        {"content": "<think>hm and hm and"},
    ],
)
def test_thoughts_alone_at_the_token_limit_are_no_answer(message: dict[str, Any]) -> None:
    with pytest.raises(errors.ReasoningExhausted):
        result("length", **message)


def test_hidden_thoughts_exhaust_the_tokens_too() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 9}}
    body = {"choices": [{"finish_reason": "length", "message": {"content": None}}], "usage": usage}
    with pytest.raises(errors.ReasoningExhausted):
        answers.completion(body, model="m")


@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": None, "reasoning": "hm"}, {"content": 3}])
def test_a_good_end_without_content_is_invalid(message: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidResponse):
        result(**message)


def test_an_empty_text_is_an_answer() -> None:
    assert result(content="").content == ""


@pytest.mark.parametrize(
    "body",
    [{}, {"choices": None}, {"choices": []}, {"choices": ["x"]}, {"choices": [{}]}, {"choices": {"0": "x"}}],
)
def test_no_choice_may_be_tried_again(body: dict[str, Any]) -> None:
    with pytest.raises(errors.ProviderOverloaded):
        answers.completion(body, model="m")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"<html></html>"])
def test_a_body_that_is_no_object_broke_on_the_way(body: bytes) -> None:
    with pytest.raises(errors.ConnectionLost):
        answers.parsed(body)


def test_usage_with_details() -> None:
    said = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    expected = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15, cached_tokens=8, reasoning_tokens=3)
    assert answers.usage_of(said) == expected


@pytest.mark.parametrize("said", [None, {}, [], {"prompt_tokens": "many"}, {"prompt_tokens": -1}])
def test_a_usage_that_tells_nothing_is_none(said: Any) -> None:
    assert answers.usage_of(said) is None


def test_a_missing_total_is_added_up() -> None:
    expected = Usage(prompt_tokens=2, completion_tokens=3, total_tokens=5)
    said = {"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": None}
    assert answers.usage_of(said) == expected


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("eos", "stop"),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("a word of its own", "stop"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
    ],
)
def test_whatever_word_it_ends_in_content_is_an_answer(word: str, reason: str) -> None:
    assert result(word, content="done") == ChatResult(content="done", finish_reason=reason)


@pytest.mark.parametrize("word", ["tool_use", "function_call", "a word of its own"])
def test_whatever_word_it_ends_in_a_tool_call_is_an_answer(word: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = result(word, content=None, tool_calls=[call])
    assert (said.tool_calls, said.finish_reason) == ((call,), "tool_calls")


@pytest.mark.parametrize(
    ("arguments", "text"), [({"a": 1}, '{"a": 1}'), (None, "{}"), ([1], "[1]"), ('{"a":1}', '{"a":1}'), ("", "")]
)
def test_a_tool_call_has_an_id_and_its_arguments_are_a_text(arguments: object, text: str) -> None:
    call = {"id": None, "function": {"name": "f", "arguments": arguments}}
    [first, second] = result("tool_calls", content=None, tool_calls=[call, call]).tool_calls
    assert first["type"] == "function"
    assert first["function"] == {"name": "f", "arguments": text}
    assert first["id"] != second["id"]


@pytest.mark.parametrize("function", [None, {}, {"name": None}, {"name": ""}, {"name": 5}, "f"])
def test_a_tool_call_that_names_no_function_is_no_answer(function: object) -> None:
    with pytest.raises(errors.InvalidResponse):
        result("tool_calls", content=None, tool_calls=[{"id": "a", "function": function}])


@pytest.mark.parametrize("word", ["stop", "content_filter", "refusal"])
def test_a_refusal_in_the_models_words_is_an_answer(word: str) -> None:
    said = result(word, content=None, refusal="I cannot help with that.")
    assert said.to_json()["refusal"] == "I cannot help with that."
    assert said.content is None
    assert "refusal" not in result(content="yes", refusal=None).to_json()


@pytest.mark.parametrize("word", ["abort", "error", "ERROR", "", None, 5, ["stop"]])
def test_what_was_broken_off_is_no_answer_whatever_it_says(word: Any) -> None:
    with pytest.raises(errors.ProviderOverloaded):
        result(word, content="The first half")


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("content_filter", errors.BadRequest),
        ("safety", errors.BadRequest),
        ("a word of its own", errors.ProviderOverloaded),
        ("eos", errors.EmptyAnswer),
    ],
)
@pytest.mark.parametrize("message", [{"content": None}, {"content": None, "refusal": ""}])
def test_with_nothing_said_it_is_none(word: str, kind: type[Exception], message: dict[str, Any]) -> None:
    with pytest.raises(kind):
        result(word, **message)
