"""What a model's name tells the sandbox to do: the grammar of `sandbox/…`.

A name is `sandbox/` and words joined by `+`, in any order; a `:free` at its end is ignored. Any other name, like a
real model's, is answered promptly.

| word | what happens |
|---|---|
| `echo` | nothing special |
| `slow-1000ms` | the answer (or failure) comes after so many milliseconds |
| `tokens-50` | the answer has so many tokens (words), unless max_tokens is less |
| `times-2` | the failure happens to each job's first so many calls only (by X-Request-Id) |
| `status-503` | this HTTP status, in the dialect's own words; 4xx and 5xx |
| `status-429-after-2` | the same with `Retry-After: 2` |
| `too-long` | 400, the prompt does not fit the context |
| `error-in-200`, `error-in-200-429` | HTTP 200 that carries an error (502, or that code) |
| `nvcf-202` | NIM only: 202, the answer is to be polled for (slow-… is how long) |
| `nvcf-302` | NIM only: the same, and the answer lies behind a redirect |
| `hang` | never answers |
| `drip` | the answer begins, and goes on for ever, a space at a time |
| `drop` | the connection is closed before a byte of the answer |
| `cut` | the connection is closed in the middle of the answer |
| `broken-json` | the body is no JSON |
| `no-choice` | the answer has no choice |
| `no-finish` | the answer has no finish_reason |
| `abort` | the answer breaks off with finish_reason `abort` |
| `filter` | the answer ends with finish_reason `content_filter` before anything is said |
| `null-content` | the answer ended well and its content is null |
| `thoughts` | thoughts in `reasoning_content`, then an answer |
| `think-tags` | thoughts in `<think>…</think>`, then an answer |
| `exhausted` | thoughts only, finish_reason `length` |
| `tools` | a tool call instead of content |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

PREFIX = "sandbox/"
#: What a 200 with an error in it says, unless told otherwise.
ERROR_IN_200 = 502


class Ending(StrEnum):
    """The ways a call can end that are named by a single word."""

    ECHO = "echo"
    TOO_LONG = "too-long"
    NVCF_202 = "nvcf-202"
    NVCF_302 = "nvcf-302"
    HANG = "hang"
    DRIP = "drip"
    DROP = "drop"
    CUT = "cut"
    BROKEN_JSON = "broken-json"
    NO_CHOICE = "no-choice"
    NO_FINISH = "no-finish"
    ABORT = "abort"
    FILTER = "filter"
    NULL_CONTENT = "null-content"
    THOUGHTS = "thoughts"
    THINK_TAGS = "think-tags"
    EXHAUSTED = "exhausted"
    TOOLS = "tools"


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What one call will meet. `status` is an error's HTTP status, `inner_status` the code of an error in a 200."""

    ending: Ending = Ending.ECHO
    latency_ms: int = 0
    tokens: int | None = None
    times: int | None = None
    status: int | None = None
    inner_status: int | None = None
    retry_after_s: float | None = None

    @property
    def without_failure(self) -> Behaviour:
        """The same call when nothing goes wrong."""
        return Behaviour(latency_ms=self.latency_ms, tokens=self.tokens)


class UnknownWord(ValueError):
    """A model name under `sandbox/` that the grammar does not have."""


STATUS = re.compile(r"status-([45]\d\d)(?:-after-(\d+(?:\.\d+)?))?")
NUMBERS = {"latency_ms": re.compile(r"slow-(\d+)ms"), "tokens": re.compile(r"tokens-(\d+)")}
NUMBERS |= {"times": re.compile(r"times-(\d+)"), "inner_status": re.compile(r"error-in-200(?:-([45]\d\d))?")}


def of_model(model: str) -> Behaviour:
    """What the model's name asks for. Raises UnknownWord."""
    if not model.startswith(PREFIX):
        return Behaviour()
    return of_words(model.removeprefix(PREFIX).removesuffix(":free"))


def of_words(words: str) -> Behaviour:
    """What the words, joined by `+`, ask for. Raises UnknownWord."""
    behaviour = Behaviour()
    for word in words.split("+"):
        behaviour = _with(behaviour, word)
    return behaviour


def _with(behaviour: Behaviour, word: str) -> Behaviour:
    if match := STATUS.fullmatch(word):
        after = match[2]
        return replace(behaviour, status=int(match[1]), retry_after_s=None if after is None else float(after))
    for name, pattern in NUMBERS.items():
        if match := pattern.fullmatch(word):
            changes: dict[str, Any] = {name: int(match[1] or ERROR_IN_200)}
            return replace(behaviour, **changes)
    try:
        return replace(behaviour, ending=Ending(word))
    except ValueError:
        raise UnknownWord(word) from None
