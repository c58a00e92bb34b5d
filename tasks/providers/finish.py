"""How an answer ended: the words that providers and engines have for it, and ours, which are OpenAI's."""

from __future__ import annotations

from typing import Any

FILTERED = "content_filter"
#: Words of others, in lower case.
WORDS = {
    "stop": ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "end_of_turn", "complete", "completed"),
    "length": ("length", "max_tokens", "max_length", "max_output_tokens", "model_length", "token_limit"),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call"),
    FILTERED: (FILTERED, "content_filtered", "safety", "recitation", "guardrails"),
}
OURS = {word: name for name, words in WORDS.items() for word in words}
#: The answer did not come to its end.
BROKEN_OFF = frozenset(
    {"", "abort", "aborted", "error", "cancelled", "canceled", "timeout", "interrupted", "incomplete"}
)


def is_broken_off(reason: Any) -> bool:
    """Whether this is what is said of an answer that was broken off, or nothing that can be said of one."""
    return not isinstance(reason, str) or reason.strip().lower() in BROKEN_OFF


def known(reason: Any) -> str | None:
    """stop, length, tool_calls or content_filter; None for a word that nobody knows."""
    return OURS.get(str(reason).strip().lower())
