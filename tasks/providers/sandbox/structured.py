"""Answers of a form that the request asks for: `tools` and `response_format`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.providers.sandbox.budget import Unsatisfiable
from tasks.providers.sandbox.samples import sample


@dataclass(frozen=True, kw_only=True)
class Structured:
    """What the message says beside its role, and how it ended."""

    message: Mapping[str, Any]
    finish_reason: str


def answer(body: Mapping[str, Any]) -> Structured | None:
    """One call of a tool, unless the last message is what a tool said; or a value of the form; None for plain text.

    Raises Unsatisfiable and TooLarge.
    """
    if (function := _function(body)) is not None:
        return Structured(message={"content": None, "tool_calls": [_call(body, function)]}, finish_reason="tool_calls")
    said = body.get("response_format")
    kind = said.get("type") if isinstance(said, dict) else None
    if kind == "json_object":
        return _value({"simulated": True})
    if kind == "json_schema" and isinstance(said, dict):
        form = said.get("json_schema")
        return _value(sample(form.get("schema", True) if isinstance(form, dict) else True))
    return None


def _value(value: Any) -> Structured:
    return Structured(message={"content": json.dumps(value)}, finish_reason="stop")


def _function(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function that is called: the one that must be, or else the first."""
    tools, choice = body.get("tools"), body.get("tool_choice", "auto")
    found: list[Mapping[str, Any]] = [
        one["function"] for one in tools or () if isinstance(one, dict) and isinstance(one.get("function"), dict)
    ]
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        found = [one for one in found if one.get("name") == name]
        if not found:
            raise Unsatisfiable("tool_choice names no tool")
        return found[0]
    last = body["messages"][-1]
    is_told = isinstance(last, dict) and last.get("role") == "tool"
    if not found or choice == "none" or (is_told and choice != "required"):
        return None
    return found[0]


def _call(body: Mapping[str, Any], function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = sample({"type": "object", **(function.get("parameters") or {})})
    digest = hashlib.sha256(json.dumps(body["messages"], sort_keys=True).encode()).hexdigest()[:24]
    named = {"name": function.get("name"), "arguments": json.dumps(arguments)}
    return {"id": f"call_{digest}", "type": "function", "function": named}
