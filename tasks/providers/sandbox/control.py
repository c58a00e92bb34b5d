"""What the sandbox is told over `PUT /control`, for all dialects or one (`PUT /control/nim`).

The body is a JSON object; it replaces everything said before, and what is left out takes its default:

| field | default | meaning |
|---|---|---|
| `latency_ms` | 0 | added to every answer |
| `tokens` | what the echo has | tokens of every answer |
| `rpm`, `tpm` | null | requests and tokens let through per window, for each dialect apart; null: unlimited |
| `window_s` | as on the command line | the length of that window |
| `fail` | null | a failure laid over what the models' names ask for |

`fail` is `{"status": 503, "retry_after_s": 2}` or `{"words": "cut"}` (behaviour.py). With `times` it hits so many
calls, with `for_s` it lasts so long, with `share` (0 to 1) it hits only that part of the calls, evenly spread.

Requests are counted when they arrive and are let through, tokens (prompt + real output) when answered. A call that
exceeds a limit gets 429 and counts as a violation; a 429 that was asked for does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tasks.providers.sandbox.behaviour import Behaviour, of_words
from tasks.providers.sandbox.window import Window

FIELDS = frozenset({"latency_ms", "tokens", "rpm", "tpm", "window_s", "fail"})
FAIL_FIELDS = frozenset({"status", "retry_after_s", "words", "times", "for_s", "share"})


@dataclass(kw_only=True)
class Fail:
    """A failure laid over whatever the model's name asks for. `until` is monotonic."""

    behaviour: Behaviour
    times: int | None
    until: float | None
    share: float
    _credit: float = 0.0

    def strikes(self, now: float) -> bool:
        """Whether this call is hit; counts it."""
        if self.times == 0 or (self.until is not None and now >= self.until):
            return False
        self._credit += self.share
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        self.times = None if self.times is None else self.times - 1
        return True


class Control:
    """One dialect's settings and the windows that its limits count in."""

    def __init__(self, said: dict[str, Any], *, window_s: float, now: float) -> None:
        """Raises ValueError for a field that does not exist or has no meaning."""
        refuse_unknown(said, FIELDS)
        window_s = float(said.get("window_s", window_s))
        self.rpm, self.tpm = whole(said.get("rpm")), whole(said.get("tpm"))
        self.latency_ms = int(said.get("latency_ms", 0))
        self.tokens = whole(said.get("tokens"))
        self.requests, self.spent = Window(window_s), Window(window_s)
        self.fail = None if said.get("fail") is None else fail_of(said["fail"], now)

    def wait_s(self, now: float, prompt_tokens: int) -> float:
        """Seconds until a call of so many tokens is within the limits; 0 lets it through and counts it."""
        of_requests = 0.0 if self.rpm is None else self.requests.room_in_s(now, 1, self.rpm)
        of_tokens = 0.0 if self.tpm is None else self.spent.room_in_s(now, prompt_tokens, self.tpm)
        wait_s = max(of_requests, of_tokens)
        if wait_s == 0:
            self.requests.book(now, 1)
        return wait_s

    def applied_to(self, behaviour: Behaviour, now: float) -> Behaviour:
        """What a call really meets, given what its model's name asks for."""
        if self.fail is not None and self.fail.strikes(now):
            behaviour = self.fail.behaviour
        tokens = self.tokens if behaviour.tokens is None else behaviour.tokens
        return replace(behaviour, latency_ms=behaviour.latency_ms + self.latency_ms, tokens=tokens)


def fail_of(said: dict[str, Any], now: float) -> Fail:
    """The failure that `fail` describes. Raises ValueError."""
    refuse_unknown(said, FAIL_FIELDS)
    words, status = said.get("words"), said.get("status")
    if (words is None) == (status is None):
        raise ValueError("fail needs either status or words")
    behaviour = of_words(words) if words is not None else of_words(f"status-{status}")
    if (after := said.get("retry_after_s")) is not None:
        behaviour = replace(behaviour, retry_after_s=float(after))
    for_s = said.get("for_s")
    return Fail(
        behaviour=behaviour,
        times=whole(said.get("times")),
        until=None if for_s is None else now + float(for_s),
        share=float(said.get("share", 1.0)),
    )


def whole(value: Any) -> int | None:
    """A whole number, or None as it is. Raises TypeError or ValueError."""
    return None if value is None else int(value)


def refuse_unknown(said: dict[str, Any], known: frozenset[str]) -> None:
    """Raise ValueError for a name that is not known: a typing error must not pass for a setting."""
    if unknown := said.keys() - known:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
