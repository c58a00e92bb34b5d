"""Whatever a provider sends: what is kept of it is text that can be stored, and JSON that every strict reader takes."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.domain.provider_errors import BadRequest, InvalidResponse
from tasks.providers import answers, embeddings, received, refusals
from tasks.providers.transport import Answer

HALF, GONE = "\\ud83d", "\ufffd"


def strict(text: str) -> Any:
    """As a reader reads that knows JSON and nothing else, and keeps its texts in UTF-8."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    text.encode()
    value = json.loads(text, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def chat(message: str, finish: str = "stop") -> dict[str, Any]:
    """What is kept of a chat completion whose message has these members."""
    choice = f'{{"index": 0, "message": {{"role": "assistant", {message}}}, "finish_reason": "{finish}"}}'
    body = f'{{"model": "m", "choices": [{choice}], "x": NaN, "y": 1e999}}'.encode()
    result = answers.completion(answers.parsed(body), model="m").result.to_json()
    assert strict(json.dumps(result, ensure_ascii=False)) == result
    return result


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rf"cut {HALF}", f"cut {GONE}"),
        (r"\udcaf cut", f"{GONE} cut"),
        (r"\ude00\ud83d", GONE * 2),
        (r"whole \ud83d\ude00", "whole \U0001f600"),
        (r"a\u0000b", f"a{GONE}b"),
        ("a line\nbreak", "a line\nbreak"),
        (r"\u2028 stays", "\u2028 stays"),
    ],
)
def test_what_is_no_text_is_replaced(sent: str, kept: str) -> None:
    assert chat(f'"content": "{sent}", "reasoning_content": "{sent}"')["content"] == kept.lstrip()
    assert chat(f'"content": "ok", "reasoning_content": "{sent}"')["reasoning"] == kept.strip()
    refused = refusals.refusal(
        Answer(status=400, headers={}, body=f'{{"error": {{"message": "{sent}"}}}}'.encode()), provider="p", model="m"
    )
    assert isinstance(refused, BadRequest)
    assert refused.message == f"p refused the request: {kept}"


def test_bytes_that_are_no_text_are_replaced() -> None:
    emoji = "\U0001f600".encode()
    for cut in (emoji[:3], emoji[2:], b"\xed\xa0\xbd"):
        body = b'{"choices": [{"finish_reason": "stop", "message": {"content": "cut ' + cut + b'"}}]}'
        content = answers.completion(answers.parsed(body), model="m").result.content
        assert content is not None
        assert set(content.removeprefix("cut ")) == {GONE}


def call(arguments: str) -> str:
    sent = json.dumps(arguments)
    calls = f'[{{"index": 0, "id": "a", "type": "function", "function": {{"name": "f", "arguments": {sent}}}}}]'
    [kept] = chat(f'"content": null, "tool_calls": {calls}', "tool_calls")["tool_calls"]
    assert (kept["id"], kept["function"]["name"]) == ("a", "f")
    return str(kept["function"]["arguments"])


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('{"a": NaN}', {"a": None}),
        ('{"a": [1, Infinity, -Infinity, "NaN"]}', {"a": [1, None, None, "NaN"]}),
        ('{"a": 1e999}', {"a": None}),
        ('{"a": "' + HALF + '"}', {"a": GONE}),
        ('{"a": "\\u0000"}', {"a": GONE}),
    ],
)
def test_the_arguments_of_a_tool_call_are_strict_json(sent: str, kept: dict[str, Any]) -> None:
    assert strict(call(sent)) == kept


@pytest.mark.parametrize(
    "sent", ['{"a":  "NaN"}', '{"emoji" :"\\ud83d\\ude00"}', "{NaN", "NaN is", "", '{"hash": "9e1234"}']
)
def test_what_is_strict_already_or_no_json_at_all_stays_as_the_model_wrote_it(sent: str) -> None:
    assert call(sent) == sent


def test_numbers_that_json_lacks_are_null_wherever_they_are() -> None:
    arguments = '{"a": NaN, "b": [-Infinity, 1e400, 2.5]}'
    said = f'"content": null, "tool_calls": [{{"x": NaN, "function": {{"name": "f", "arguments": {arguments}}}}}]'
    [kept] = chat(said, "tool_calls")["tool_calls"]
    assert kept["x"] is None
    assert strict(kept["function"]["arguments"]) == {"a": None, "b": [None, None, 2.5]}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400 + ".0", "1" + "0" * 400])
def test_a_vector_with_a_number_that_is_none_is_no_vector(number: str) -> None:
    body = received.loads(f'{{"data": [{{"index": 0, "embedding": [0.5, {number}]}}]}}'.encode())
    with pytest.raises(InvalidResponse):
        embeddings.vectors(body, count=1)


@pytest.mark.parametrize(
    "body",
    [
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": ' + "9" * 5_000 + "}",
    ],
    ids=["nested", "a long number"],
)
def test_what_nobody_could_read_is_no_answer(body: str) -> None:
    """Another try would be paid for, and come to the same."""
    with pytest.raises(InvalidResponse):
        answers.parsed(body.encode())
    assert refusals.message(body.encode()) == ""


def test_a_tool_call_that_nests_without_end_is_no_answer() -> None:
    with pytest.raises(InvalidResponse):
        chat(f'"content": null, "tool_calls": [{{"a": {"[" * 200 + "]" * 200}}}]', "tool_calls")


@pytest.mark.parametrize("name", [5, "x" * 201, "", "a\nb", f"m{GONE}\0"])
def test_what_is_no_models_name_is_not_taken_for_one(name: object) -> None:
    body = {"model": name, "choices": [{"finish_reason": "stop", "message": {"content": "hi"}}]}
    assert answers.completion(body, model="asked for").model == "asked for"


PIECES = st.sampled_from([HALF, "\\udcaf", "\\u0000", "NaN", "\\n", "a", "é", '\\"', "1e999", "\\\\"])


@given(st.lists(PIECES, max_size=8).map("".join), st.sampled_from(["1", "NaN", "-Infinity", "1e999", "null"]))
def test_whatever_is_sent_what_is_kept_is_strict(text: str, number: str) -> None:
    value = received.loads(f'{{"{text}": ["{text}", {number}, {{"b": "{text}"}}]}}'.encode())
    assert strict(json.dumps(value, ensure_ascii=False)) == value
    strict(json.dumps({"arguments": received.arguments(f'{{"a": "{text}", "b": {number}}}')}, ensure_ascii=False))
