"""Lines in OpenAI's form: what becomes a job, and what is told of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches import openai_lines, reading
from tasks.batches.reading import Item
from tasks.domain.batch import InvalidItem
from tasks.domain.job import Cache, Kind, Mode
from tasks.schemas.openai_bodies import CHAT, EMBEDDINGS

TURNS = [{"role": "user", "content": "hi"}]


def read(said: Any, endpoint: str = CHAT) -> Item | InvalidItem:
    kept = reading.entry(7, json.dumps(said).encode(), longest=100_000).decode()
    return reading.read(kept, {"defaults": {}, "openai": {"endpoint": endpoint}})


def line(body: Any, url: str = CHAT) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": url, "body": body}


def asked(endpoint: str = CHAT, **body: Any) -> dict[str, Any]:
    found = read(line(body if endpoint == EMBEDDINGS else {"messages": TURNS, **body}, endpoint), endpoint)
    assert isinstance(found, Item), found
    return found.asked.request.to_json()


def refused(endpoint: str = CHAT, **body: Any) -> str | None:
    found = read(line(body if endpoint == EMBEDDINGS else {"messages": TURNS, **body}, endpoint), endpoint)
    assert isinstance(found, InvalidItem), found
    assert (found.code, found.custom_id) == (openai_lines.BODY, "a")
    assert not openai_lines.is_fatal(found)
    return found.field


FATAL: dict[str, tuple[Any, str, str | None]] = {
    "a list": ([], "invalid_json_line", None),
    "no custom_id": ({"method": "POST", "url": CHAT, "body": {}}, "missing_required_parameter", "custom_id"),
    "no body": ({"custom_id": "a", "method": "POST", "url": CHAT}, "missing_required_parameter", "body"),
    "a number for a custom_id": ({**line({}), "custom_id": 1}, "invalid_custom_id", "custom_id"),
    "GET": ({**line({}), "method": "GET"}, "invalid_method", "method"),
    "another url": (line({}, EMBEDDINGS), "invalid_url", "url"),
    "a body that is a list": (line([]), "invalid_body", "body"),
    "an unknown field": ({**line({}), "priority": 1}, "unknown_parameter", "priority"),
}


@pytest.mark.parametrize(("said", "code", "field"), FATAL.values(), ids=FATAL)
def test_a_line_that_is_no_request_fails_its_batch(said: Any, code: str, field: str | None) -> None:
    found = read(said)
    assert isinstance(found, InvalidItem)
    assert (found.line, found.code, found.field, openai_lines.is_fatal(found)) == (7, code, field, True)


def test_a_line_that_is_no_json_fails_its_batch() -> None:
    for text in (b"not json", b"\xff", b'{"a": 1, "a": 2}', b"x" * 200):
        kept = reading.entry(7, text, longest=100).decode()
        found = reading.read(kept, {"defaults": {}, "openai": {"endpoint": CHAT}})
        assert isinstance(found, InvalidItem)
        assert (found.code, openai_lines.is_fatal(found)) == ("invalid_json_line", True)


def test_what_has_an_equivalent_is_taken() -> None:
    assert asked(max_completion_tokens=5)["max_tokens"] == 5
    assert asked(max_completion_tokens=5, max_tokens=5)["max_tokens"] == 5
    assert asked(reasoning_effort="high")["use_reasoning"] is True
    assert asked(reasoning_effort="none")["use_reasoning"] is False
    assert asked(messages=[{"role": "developer", "content": "be brief"}, *TURNS])["messages"][0]["role"] == "system"
    assert asked(seed=1, stop="x", temperature=0, top_p=0.5)["stop"] == ["x"]


def test_what_changes_no_answer_is_taken() -> None:
    plain = asked()
    harmless = {"user": "u", "store": True, "service_tier": "auto", "safety_identifier": "s", "prompt_cache_key": "k"}
    same = {
        "n": 1,
        "stream": False,
        "logprobs": False,
        "presence_penalty": 0.0,
        "frequency_penalty": 0,
        "logit_bias": {},
    }
    nulls = dict.fromkeys(
        ("n", "logprobs", "max_tokens", "stop", "tools", "stream_options", "audio", "response_format")
    )
    for body in (harmless, same, nulls, {"modalities": ["text"], "parallel_tool_calls": True}):
        assert asked(**body) == plain


def test_an_answer_may_be_sent_back_as_a_turn() -> None:
    nulls = dict.fromkeys(("refusal", "audio", "function_call", "tool_calls"))
    answer: dict[str, Any] = {"role": "assistant", "content": "hello", "annotations": [], **nulls}
    assert asked(messages=[*TURNS, answer, *TURNS])["messages"][1] == {"role": "assistant", "content": "hello"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 2), ("n", True), ("stream", True), ("stream", 0), ("logprobs", True), ("top_logprobs", 3),
     ("logit_bias", {"1": 5}), ("presence_penalty", 0.5), ("parallel_tool_calls", False),
     ("audio", {}), ("functions", []), ("colour", 1),
     ("max_completion_tokens", 0), ("reasoning_effort", "huge"), ("temperature", 9), ("prompt", "x"), ("kind", "chat"),
     ("expires_in_s", 5), ("idempotency_key", "k"), ("custom_id", "b")],
)  # fmt: skip
def test_what_would_change_the_answer_is_refused_by_name(name: str, value: Any) -> None:
    field = refused(**{name: value})
    assert field == ("max_tokens" if name == "max_completion_tokens" else name)


def test_two_budgets_that_differ_are_refused() -> None:
    assert refused(max_tokens=5, max_completion_tokens=6) == "max_completion_tokens"


def test_embeddings() -> None:
    body: dict[str, Any] = {"model": "m", "input": ["a", "b"], "encoding_format": "float", "user": "u", "dimensions": 3}
    assert asked(EMBEDDINGS, **body) == {"input": ["a", "b"], "dimensions": 3}
    assert refused(EMBEDDINGS, **{**body, "encoding_format": "base64"}) == "encoding_format"
    assert refused(EMBEDDINGS, **{**body, "temperature": 0}) == "temperature"
    assert refused(EMBEDDINGS, **{**body, "model": None}) == "model"
    assert refused(EMBEDDINGS, **{**body, "input": [1, 2]}).startswith("input")  # type: ignore[union-attr]


def test_our_own_fields_are_taken() -> None:
    found = read(line({"model": "m", "messages": TURNS, "mode": "gpu", "cache": "off", "metadata": {"a": "b"}}))
    assert isinstance(found, Item)
    assert (found.asked.mode, found.asked.cache, found.asked.kind) == (Mode.GPU, Cache.OFF, Kind.CHAT)
    assert (found.custom_id, found.asked.model, found.asked.metadata) == ("a", "m", {"a": "b"})


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
NAMES = st.sampled_from(["messages", "n", "stream", "logit_bias", "stop", "tools", "max_completion_tokens", "user"])


@given(JSON, st.sampled_from([CHAT, EMBEDDINGS]))
def test_any_line_is_an_item_or_wrong(said: Any, endpoint: str) -> None:
    assert isinstance(read(said, endpoint), Item | InvalidItem)


@given(st.dictionaries(NAMES | st.text(), JSON), st.sampled_from([CHAT, EMBEDDINGS]))
def test_any_body_is_an_item_or_wrong(body: Any, endpoint: str) -> None:
    assert isinstance(read(line(body, endpoint), endpoint), Item | InvalidItem)
