"""The governor's answers: who may go now, when to look again, and what a call came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.store.claim import Claim
from tasks.store.message import Message, messages


@dataclass(frozen=True, kw_only=True)
class Waiters:
    """Messages of jobs that were let go, and in how many seconds the next may go (None: nobody waits)."""

    messages: tuple[Message, ...] = ()
    next_in_s: float | None = None


def let_go(answer: Sequence[Any]) -> Waiters:
    """The script's answer: ms until the next may go (-1: nobody waits), then messages."""
    next_ms = int(answer[0])
    return Waiters(messages=tuple(messages(answer[1:])), next_in_s=None if next_ms < 0 else next_ms / 1000)


class Ended(StrEnum):
    """How a call ended, as far as a limit is concerned."""

    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class CallOver:
    """What a call came to. `sent_s` after its claim it was sent, `sends` times; None where that is not known.

    `tokens` is what it took in all, `answer_tokens` in the answer. A refusal holds `limit` for `hold_s`.
    """

    claim: Claim
    ended: Ended
    sent_s: float | None = None
    sends: int = 1
    tokens: int | None = None
    answer_tokens: int = 0
    limit: str = ""
    hold_s: float = 0.0

    def args(self) -> list[Any]:
        """As the script takes them, after the policy."""
        sent_ms = -1 if self.sent_s is None else int(self.sent_s * 1000)
        tokens = -1 if self.tokens is None else self.tokens
        known = [sent_ms, self.sends, tokens, self.answer_tokens, self.ended.value]
        hold = [int(self.hold_s * 1000), self.limit]
        return [self.claim.call_id, self.claim.claimed_ms, *known, *hold, *self.claim.scopes]
