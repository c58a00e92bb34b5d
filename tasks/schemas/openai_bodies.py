"""Requests in OpenAI's form: from the body of a chat completion or of embeddings to the fields of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.domain.errors import InvalidRequest
from tasks.domain.job import Kind

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
KINDS = {CHAT: Kind.CHAT, EMBEDDINGS: Kind.EMBEDDING}

#: Fields that a job has by the same name. The last row of each is our own.
SAME = {
    Kind.CHAT: {
        *("model", "messages", "max_tokens", "temperature", "top_p", "stop", "seed"),
        *("response_format", "tools", "tool_choice", "metadata"),
        *("mode", "cache", "use_reasoning", "retry_exhausted"),
    },
    Kind.EMBEDDING: {
        *("model", "input", "dimensions"),
        *("mode", "cache", "input_type", "truncate", "metadata"),
    },
}
#: What tells OpenAI something of the caller or of the account, and changes no answer.
HARMLESS = {"user", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
#: What would change the answer if it were anything but this, which is what happens here anyway.
ONLY: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "stream": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "encoding_format": ("float",),
}
EFFORTS = {"none": False, "minimal": True, "low": True, "medium": True, "high": True, "xhigh": True}


def fields(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job that asks the same. Raises InvalidRequest, which names what cannot be had here.

    A field that is null is one that was left out.
    """
    said = {name: value for name, value in body.items() if value is not None}
    found = {name: value for name, value in said.items() if name in SAME[kind]}
    if kind is Kind.CHAT:
        _budget(said, found)
        _effort(said, found)
        if isinstance(found.get("messages"), list):
            found["messages"] = [_turn(turn) for turn in found["messages"]]
    for name in said.keys() - SAME[kind] - HARMLESS:
        _judge(name, said[name])
    return {**found, "kind": kind.value}


def _budget(said: dict[str, Any], found: dict[str, Any]) -> None:
    if "max_completion_tokens" not in said:
        return
    most = said.pop("max_completion_tokens")
    if found.setdefault("max_tokens", most) != most:
        raise InvalidRequest("max_tokens and max_completion_tokens differ", field="max_completion_tokens")


def _effort(said: dict[str, Any], found: dict[str, Any]) -> None:
    if "reasoning_effort" not in said:
        return
    effort = said.pop("reasoning_effort")
    if not isinstance(effort, str) or effort not in EFFORTS:
        raise InvalidRequest(f"Must be one of: {', '.join(EFFORTS)}.", field="reasoning_effort")
    found.setdefault("use_reasoning", EFFORTS[effort])


def _turn(turn: Any) -> Any:
    """A turn as it was answered may be sent back: with what it lacks as null, or as an empty list."""
    if not isinstance(turn, dict):
        return turn
    found = {name: value for name, value in turn.items() if name == "content" or value not in (None, [])}
    return {**found, "role": "system"} if found.get("role") == "developer" else found


def _judge(name: str, value: Any) -> None:
    if name not in ONLY:
        raise InvalidRequest(f"Unrecognized request argument supplied: {name[:100]}", field=name[:100])
    # True is 1 and false is 0 to Python, but not to a client.
    if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in ONLY[name]):
        allowed = " or ".join(str(one) for one in ONLY[name])
        raise InvalidRequest(f"{name} can only be {allowed} here", field=name)
