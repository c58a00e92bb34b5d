"""Answers of a form: what the sandbox makes satisfies the schema, as a judge that is not ours sees it."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import jsonschema_rs
import pytest
import requests

from tasks.providers.sandbox.budget import TooLarge, Unsatisfiable
from tasks.providers.sandbox.samples import sample
from tasks.providers.sandbox.thread import SandboxThread
from tests.providers.clients import BASES
from tests.providers.sandbox.test_dialects import KEYS, ask

PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}},
          "required": ["name", "age"], "additionalProperties": False}  # fmt: skip
TREE = {"type": "object", "required": ["value", "children"], "additionalProperties": False, "properties": {
    "value": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}}}  # fmt: skip
CONDITION = {"type": "object", "required": ["k"], "properties": {"k": {"const": "a"}},
             "if": {"properties": {"k": {"const": "a"}}}, "then": {"required": ["z"]}}  # fmt: skip
LIST = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["next"], "properties": {
    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}}  # fmt: skip
SCHEMAS: dict[str, Any] = {
    "anything": True,
    "an empty one": {},
    "an object": PERSON,
    "an object of objects": {"type": "object", "properties": {"a": PERSON, "b": PERSON}, "required": ["a"]},
    "a reference": {"$ref": "#/$defs/person", "$defs": {"person": PERSON}},
    "a reference with more": {"$ref": "#/$defs/p", "required": ["x"], "properties": {"x": {"const": 7}}, "$defs": {
        "p": {"type": "object", "properties": {"y": {"type": "number"}}, "required": ["y"]}}},
    "a name with a slash": {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}},
    "itself": TREE,
    "a list that ends": LIST,
    "an enum": {"enum": ["red", "green"]},
    "an enum of a type": {"type": "integer", "enum": ["red", 3]},
    "a constant": {"const": {"a": [1]}},
    "a choice": {"anyOf": [{"type": "string", "minLength": 40}, {"type": "null"}]},
    "a choice of which one cannot be": {"oneOf": [False, {"type": "integer", "minimum": 5, "maximum": 4}, PERSON]},
    "a choice beside more": {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string"}},
                             "anyOf": [{"properties": {"kind": {"const": word}}} for word in "ab"]},
    "all of several": {"allOf": [PERSON | {"additionalProperties": True},
                                 {"required": ["z"], "properties": {"z": {"type": "boolean"}}}]},
    "both of two bounds": {"allOf": [{"type": "number", "minimum": 3}, {"type": "integer", "minimum": 5}]},
    "several types": {"type": ["null", "string"]},
    "whole numbers": {"type": "integer", "exclusiveMinimum": 3, "maximum": 4},
    "multiples": {"type": "integer", "minimum": 11, "maximum": 19, "multipleOf": 7},
    "below zero": {"type": "integer", "maximum": -3},
    "below zero, strictly": {"type": "number", "exclusiveMaximum": -3},
    "between two": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
    "quarters": {"type": "number", "multipleOf": 0.25, "minimum": 0.3},
    "one only": {"type": "number", "minimum": 2.5, "maximum": 2.5},
    "far away": {"type": "integer", "minimum": 10**12},
    "a length": {"type": "string", "minLength": 3, "maxLength": 5},
    "a long one": {"type": "string", "minLength": 2000},
    "nothing": {"type": "string", "maxLength": 0},
    "a pattern": {"type": "string", "pattern": r"^[A-Z]{3}-\d{2,4}(?:x|y)?$"},
    "a pattern of others": {"type": "string", "pattern": r"^[^a0]+\.\w\S.$"},
    "a date": {"type": "string", "format": "date-time"},
    "an address": {"type": "string", "format": "email"},
    "items": {"type": "array", "items": PERSON, "minItems": 3},
    "no items": {"type": "array", "maxItems": 0},
    "different items": {"type": "array", "items": {"type": "string"}, "minItems": 4, "uniqueItems": True},
    "different numbers": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 6}, "minItems": 6,
                          "uniqueItems": True},
    "different words": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    "different objects": {"type": "array", "items": PERSON, "minItems": 2, "uniqueItems": True},
    "a tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False,
                "minItems": 2},
    "one that is there": {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 5}, "minItems": 2},
    "more properties": {"type": "object", "minProperties": 3, "additionalProperties": {"type": "integer"}},
    "fewer properties": {"type": "object", "maxProperties": 1, "properties": {"a": True, "b": True, "c": True}},
    "required, not described": {"type": "object", "required": ["x"], "additionalProperties": {"type": "boolean"}},
    "no type": {"properties": {"a": {"minimum": 3}}, "required": ["a"]},
    "a choice of which one is not simulated": {"anyOf": [{"not": {}}, {"type": "boolean"}]},
    "what is not simulated, where it may be left out": {"properties": {"a": CONDITION, "b": True}},
    "no value of that name": {"type": "object", "properties": {"a": False, "b": {"type": "null"}}, "required": ["b"]},
}  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_what_is_made_satisfies_the_schema(schema: Any) -> None:
    made = sample(schema)
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(made)
    assert sample(schema) == made, "the same schema has the same value"


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        {"allOf": [{"$ref": "#"}]},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "string", "maxLength": 2, "pattern": "^aaaa$"},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "a(?=b)"},
        {"enum": []},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "uniqueItems": True},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/nowhere"},
        {"type": "object", "properties": [1], "required": ["a"]},
        {"minItems": "three", "type": "array"},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
    ],
    ids=json.dumps,
)
def test_what_nothing_satisfies_is_said(schema: Any) -> None:
    with pytest.raises((Unsatisfiable, TooLarge)):
        sample(schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (False, "a schema that nothing satisfies"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no number is within the bounds"),
        ({"type": "object", "required": ["a"], "properties": {"a": {"enum": []}}}, "an enum without a value"),
        ({"anyOf": [{"$ref": "#/nowhere"}, False]}, "there is no #/nowhere"),
        ({"anyOf": []}, "a choice without alternatives"),
        ({"type": "integer", "not": {"const": 0}}, "with 'not' is not"),
        ({"const": 0, "not": {"const": 0}}, "with 'not' is not"),
        (CONDITION, "with 'if' is not"),
        ({"type": "object", "dependentSchemas": {"k": False}}, "with 'dependentSchemas' is not"),
        ({"type": "string", "const": 5}, "a const of another type"),
    ],
    ids=json.dumps,
)
def test_the_reason_is_said(schema: Any, words: str) -> None:
    with pytest.raises(Unsatisfiable, match=re.escape(words)):
        sample(schema)


def doubling(depth: int) -> dict[str, Any]:
    """Each level has two of the next: 2^depth values."""
    levels = {f"l{n}": {"type": "array", "minItems": 2, "items": {"$ref": f"#/$defs/l{n + 1}"}} for n in range(depth)}
    return {"$ref": "#/$defs/l0", "$defs": {**levels, f"l{depth}": {"type": "null"}}}


@pytest.mark.parametrize(
    "schema",
    [
        doubling(40),
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "pattern": "(a{9999}){9999}"},
        {
            "allOf": [
                {"anyOf": [{"minimum": n} for n in range(2000)]},
                {"anyOf": [{"maximum": -n} for n in range(2000)]},
            ]
        },
        {"type": "array", "minItems": 9000, "items": {"enum": list(range(9000))}, "uniqueItems": True},
    ],
    ids=["doubling", "items", "characters", "repetition", "choices", "an enum"],
)
def test_what_is_too_large_is_given_up_soon(schema: Any) -> None:
    began = time.thread_time()
    with pytest.raises((Unsatisfiable, TooLarge)):
        sample(schema)
    assert time.thread_time() - began < 5, "seconds of work for one request"


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def tool(name: str, **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


@pytest.mark.parametrize("name", BASES)
def test_every_dialect_answers_in_the_form_that_is_asked_for(sandbox: SandboxThread, name: str) -> None:
    url = sandbox.url + BASES[name]
    answer = ask(url, "sandbox/echo", KEYS[name], response_format=form(PERSON), max_tokens=1).json()["choices"][0]
    jsonschema_rs.validate(PERSON, json.loads(answer["message"]["content"]))
    assert answer["finish_reason"] == "stop"
    plain = ask(url, "sandbox/echo", KEYS[name], response_format={"type": "json_object"}).json()["choices"][0]
    assert json.loads(plain["message"]["content"]) == {"simulated": True}
    refused = ask(url, "sandbox/echo", KEYS[name], response_format=form({"$ref": "#"}))
    assert (refused.status_code, "a reference that leads to itself" in refused.text) == (400, True), refused.text


def called(answer: requests.Response) -> tuple[str, Any] | None:
    (choice,) = answer.json()["choices"]
    if "tool_calls" not in choice["message"]:
        assert choice["finish_reason"] == "stop"
        return None
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert call["id"]
    return call["function"]["name"], json.loads(call["function"]["arguments"])


def test_a_tool_is_called_once_with_valid_arguments(sandbox: SandboxThread) -> None:
    url, tools = sandbox.url + BASES["sandbox"], [tool("first", parameters=PERSON), tool("second")]
    named = {"type": "function", "function": {"name": "second"}}
    name, arguments = called(ask(url, "sandbox/echo", tools=tools)) or ("", None)
    jsonschema_rs.validate(PERSON, arguments)
    assert name == "first"
    assert called(ask(url, "sandbox/echo", tools=tools, tool_choice=named)) == ("second", {})
    assert called(ask(url, "sandbox/echo", tools=tools, tool_choice="none")) is None
    assert called(ask(url, "sandbox/echo", tools=[])) is None


def test_a_loop_of_tools_comes_to_its_end(sandbox: SandboxThread) -> None:
    """What a tool has said is answered, in the form that is asked for."""
    url = f"{sandbox.url}{BASES['sandbox']}/chat/completions"
    body = {"model": "sandbox/echo", "tools": [tool("look", parameters=PERSON)], "response_format": form(PERSON)}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "how old?"}]
    first = requests.post(url, json={**body, "messages": messages}, timeout=5).json()["choices"][0]["message"]
    messages += [first, {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "42"}]
    last = requests.post(url, json={**body, "messages": messages}, timeout=5)
    assert called(last) is None
    jsonschema_rs.validate(PERSON, json.loads(last.json()["choices"][0]["message"]["content"]))
