"""A batch: many jobs submitted together, its items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from tasks.domain.job import Priority, Status


class BatchStatus(StrEnum):
    """What a client sees of a batch's state."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether nothing changes any more, unless the client asks for another round."""
        return self in (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED, BatchStatus.EXPIRED)


OnInvalid = Literal["reject", "skip"]

#: How an item can end: the counts of a batch are over these. `invalid` is an item that was never a job.
ENDS = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED)


def item_id(batch_id: str, line: int) -> str:
    """The job of a line: derived, so that reading a batch twice makes nothing twice."""
    return f"job_{batch_id.removeprefix('batch_')}-{line}"


def last_id(batch_id: str, number: int) -> str:
    """The job over the results of a batch's round."""
    return f"job_{batch_id.removeprefix('batch_')}-last{number}"


def item_pages(batch_id: str, lines: int, size: int) -> Iterator[list[str]]:
    """The jobs of all lines, `size` at a time."""
    for first in range(1, lines + 1, size):
        yield [item_id(batch_id, line) for line in range(first, min(first + size, lines + 1))]


@dataclass(frozen=True, kw_only=True)
class OpenAIForm:
    """What a batch was asked for in OpenAI's form: its lines are requests to `endpoint`. `window` is the client's word
    for how long it may take, `output_ttl_s` how long the files of its results are kept, None as long as any."""

    endpoint: str
    input_file_id: str
    window: str
    output_ttl_s: int | None = None


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What a client asks of a batch as a whole.

    `defaults` are fields of a job request that items leave out. `stop_after` is the share of items that may fail before
    the rest is cancelled: 0.0 stops at the first, None never. `on_complete` is the job request that is run once at the
    end, its texts filled in with the results. `openai` is there when lines are in OpenAI's form. `priority` is among
    batches: single jobs go before them all.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    on_invalid: OnInvalid = "reject"
    stop_after: float | None = None
    max_tries: int | None = None
    expires_in_s: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    on_complete: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    openai: OpenAIForm | None = None
    priority: Priority = Priority.NORMAL

    def to_json(self) -> dict[str, Any]:
        """What the workers need of it."""
        return {
            "defaults": dict(self.defaults),
            "on_invalid": self.on_invalid,
            "stop_after": self.stop_after,
            "max_tries": self.max_tries,
            "on_complete": self.on_complete,
            "priority": int(self.priority),
            **({"openai": vars(self.openai)} if self.openai else {}),
        }


@dataclass(frozen=True, kw_only=True)
class InvalidItem:
    """An item that could not be taken: its line (from 1), its custom_id if it could be read, and why."""

    line: int
    custom_id: str | None
    code: str
    message: str
    field: str | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch as its owner sees it. Times are aware, UTC.

    `total` counts the items, `lines` is the number of the last line; `counts` says for each way to end how many items
    have, `invalid` among them. `queued` counts the items by the queue that answers them, or did: one that moves on is
    counted where it went, one with another's answer (`cached`, `coalesced`) nowhere. `is_simulated`: the sandbox
    answered at least one of them.
    `settled_per_s` is the rate measured in this round since it was begun or resumed, None while there is none.
    `tokens_before` were used by earlier rounds. `as_of` is when all this was so, by the clock of the other times.
    """

    id: str
    owner: str
    status: BatchStatus
    is_paused: bool
    created_at: datetime
    in_progress_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    total: int
    lines: int
    counts: Mapping[str, int]
    cached: int
    coalesced: int
    is_simulated: bool
    queued: Mapping[str, int]
    usage: Mapping[str, int]
    metadata: Mapping[str, str]
    round: int
    settled_per_s: float | None
    tokens_before: int
    as_of: datetime
    error: Mapping[str, Any] | None
    on_complete: Mapping[str, Any] | None
    cancelling_at: datetime | None = None
    openai: OpenAIForm | None = None

    @property
    def settled(self) -> int:
        """How many items have ended, those that were invalid included."""
        return sum(self.counts.values())

    @property
    def eta(self) -> datetime | None:
        """When the last item will have ended at the present rate, at the deadline at the latest; None while that cannot
        be told, while the batch is paused, and when it is over."""
        left = max(0, self.total - self.settled)
        if self.status.is_final or self.status is BatchStatus.VALIDATING or self.is_paused:
            return None
        if left and not self.settled_per_s:
            return None
        left_s = left / self.settled_per_s if self.settled_per_s else 0.0
        until_deadline_s = max(0.0, (self.expires_at - self.as_of).total_seconds())
        return self.as_of + timedelta(seconds=min(left_s, until_deadline_s))

    @property
    def is_estimating(self) -> bool:
        """Whether there will be an `eta` once more items have ended."""
        return self.eta is None and not self.status.is_final and not self.is_paused

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens per second of this round; None before its first."""
        if self.in_progress_at is None or not self.usage:
            return None
        took = (self.finished_at or self.as_of) - self.in_progress_at
        return (self.usage.get("total_tokens", 0) - self.tokens_before) / max(took.total_seconds(), 0.001)
