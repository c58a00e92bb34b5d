"""A chat completion as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tasks.providers.sandbox.simulation import Simulated

DONE = "[DONE]"


def chunks(envelope: dict[str, Any], answer: Simulated, *, error: dict[str, Any] | None) -> Iterator[str]:
    """The data of each event: the words one by one, how it ended, the usage, and [DONE].

    With an error, it comes after the first word, and the finish_reason is `error`.
    """
    head = {**envelope, "object": "chat.completion.chunk"}
    usage = head.pop("usage")
    deltas = list(_deltas(answer.message))
    for delta in deltas[:1] if error else deltas:
        yield json.dumps({**head, "choices": [_choice(delta, None)]})
    if error:
        yield json.dumps({**head, **error, "choices": [_choice({"content": ""}, "error")]})
    elif answer.finish_reason is not None:
        yield json.dumps({**head, "choices": [_choice({}, answer.finish_reason)]})
        yield json.dumps({**head, "choices": [], "usage": usage})
    yield DONE


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for name in ("reasoning_content", "content"):
        words = (message.get(name) or "").split(" ")
        yield from ({name: word if n == 0 else f" {word}"} for n, word in enumerate(words) if word)
    if calls := message.get("tool_calls"):
        yield {"tool_calls": [{"index": n, **call} for n, call in enumerate(calls)]}


def _choice(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}
