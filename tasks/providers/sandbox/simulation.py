"""The simulated answers: deterministic, and plainly marked as simulated."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from tasks.providers.sandbox import structured
from tasks.providers.sandbox.behaviour import Behaviour, Ending

MARK = "[simulated] "
#: An image's cost in tokens, about what small vision models count for one tile.
IMAGE_TOKENS = 85
#: How many of the prompt's words are echoed.
ECHOED = 12
THOUGHTS = "simulated thoughts about the question"
TOOL_CALL = {"id": "call_simulated", "type": "function", "function": {"name": "simulated", "arguments": "{}"}}


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """One answer before it is put into a dialect's envelope."""

    message: dict[str, Any]
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0

    @property
    def usage(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


def simulate(body: dict[str, Any], behaviour: Behaviour) -> Simulated:
    """The answer to a chat completion request: a call of one of its tools, or a value of the form that it asks for, or
    an echo of its last message, cut to max_tokens words.

    Raises Unsatisfiable and TooLarge for a schema that is not simulated.
    """
    asked = structured.answer(body) if behaviour.ending is Ending.ECHO else None
    if asked is not None:
        return _whole(body, asked)
    words = wanted_words(body["messages"], behaviour.tokens)
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or len(words)
    content = MARK + " ".join(words[:limit])
    finish = "length" if limit < len(words) else "stop"
    message, finish_reason = ended(behaviour.ending, content, finish)
    thought = THOUGHTS.split() if behaviour.ending in (Ending.THOUGHTS, Ending.THINK_TAGS, Ending.EXHAUSTED) else []
    return Simulated(
        message={"role": "assistant", **message},
        finish_reason=finish_reason,
        prompt_tokens=count_tokens(body["messages"]),
        completion_tokens=min(limit, len(words)) + len(thought),
        reasoning_tokens=len(thought),
    )


def _whole(body: dict[str, Any], asked: structured.Structured) -> Simulated:
    """An answer that would be of no use if it were cut."""
    return Simulated(
        message={"role": "assistant", **asked.message},
        finish_reason=asked.finish_reason,
        prompt_tokens=count_tokens(body["messages"]),
        completion_tokens=max(1, len(json.dumps(asked.message).split())),
    )


def ended(ending: Ending, content: str, finish: str) -> tuple[dict[str, Any], str | None]:
    """Message and finish_reason as the ending wants them."""
    plain: dict[str, Any] = {"content": content}
    endings: dict[Ending, tuple[dict[str, Any], str | None]] = {
        Ending.NO_FINISH: (plain, None),
        Ending.ABORT: (plain, "abort"),
        Ending.FILTER: ({"content": None}, "content_filter"),
        Ending.NULL_CONTENT: ({"content": None}, "stop"),
        Ending.THOUGHTS: ({"content": content, "reasoning_content": THOUGHTS}, finish),
        Ending.THINK_TAGS: ({"content": f"<think>{THOUGHTS}</think>\n\n{content}"}, finish),
        Ending.EXHAUSTED: ({"content": None, "reasoning_content": THOUGHTS}, "length"),
        Ending.TOOLS: ({"content": None, "tool_calls": [TOOL_CALL]}, "tool_calls"),
    }
    return endings.get(ending, (plain, finish))


def wanted_words(messages: list[Any], tokens: int | None) -> list[str]:
    """The answer's words: the start of the last message and a digest of the whole conversation, or so many."""
    digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:12]
    words = ["echo", digest, *text_of(messages[-1]).split()[:ECHOED]]
    return words if tokens is None else [words[n % len(words)] for n in range(tokens)]


def text_of(message: Any) -> str:
    """The text in a message, whose content may be a string or a list of parts."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def count_tokens(messages: list[Any]) -> int:
    """Words, and a fixed number for each image; at least one for each message."""
    count = 0
    for message in messages:
        parts = message.get("content") if isinstance(message, dict) else None
        images = sum("image_url" in part for part in parts) if isinstance(parts, list) else 0
        count += max(1, len(text_of(message).split())) + images * IMAGE_TOKENS
    return count


def envelope(answer: Simulated, *, ident: str, model: str, no_choice: bool) -> dict[str, Any]:
    """The answer as a chat completion."""
    choice = {"index": 0, "message": answer.message, "finish_reason": answer.finish_reason, "logprobs": None}
    return {
        "id": ident,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [] if no_choice else [choice],
        "usage": answer.usage,
    }
