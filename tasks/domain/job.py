"""A job: what a client submitted, and what has become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.request import ChatRequest

Request = ChatRequest | EmbeddingRequest

#: The longest a job may be given; with the time its record stays it bounds the list of an owner's jobs.
LONGEST_EXPIRES_IN_S = 7 * 24 * 3600
#: The provider whose answers only pretend to be a model's.
SIMULATOR = "sandbox"
#: Of an idempotency key, in characters.
LONGEST_KEY = 255


class Status(StrEnum):
    """What a client sees of a job's state."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether nothing changes any more."""
        return self not in (Status.PENDING, Status.PROCESSING)


class Mode(StrEnum):
    """Where a job may be answered."""

    AUTO = "auto"
    GPU = "gpu"
    API = "api"


class Kind(StrEnum):
    """What a job asks a model to do."""

    CHAT = "chat"
    EMBEDDING = "embedding"

    def read(self, body: Mapping[str, Any]) -> Request:
        """The request of this kind that was written as `body`."""
        return (EmbeddingRequest if self is Kind.EMBEDDING else ChatRequest).from_json(body)


class Cache(StrEnum):
    """Whether a job may have another's answer: an earlier one or one under way; only give its own; or neither."""

    USE = "use"
    REFRESH = "refresh"
    OFF = "off"


class Priority(IntEnum):
    """Celery's priority on Redis: 0 is served first, strictly. All but single jobs are batches'."""

    INTERACTIVE = 0
    HIGH = 3
    NORMAL = 6
    LOW = 9


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job did not complete. `code` is a stable word."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Wait:
    """What a pending job waits for: queue, backoff, rate_limit, circuit_open, key_refused, paused, coalesced.

    `until` if that is known.
    """

    reason: str
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job as it was asked for, before it has an id. `expires_in_s` counts from acceptance; `images` as in Job.

    `cache` None leaves it to the request: see questions.py.
    """

    owner: str
    kind: Kind
    mode: Mode
    model: str
    request: Request
    expires_in_s: float
    metadata: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    fingerprint: str = ""
    cache: Cache | None = None
    images: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as its owner sees it. Times are aware, UTC. `attempts` is a capped trail, oldest first. `kind` and `mode`
    are plain texts where a newer version wrote them.

    `images` has a receipt of each image: `in` is [width, height, bytes] as given, `out` is [width, height, bytes,
    quality] as the last provider was shown it, None before.

    One that was given another's answer says in `saved` what that had taken, in seconds and tokens, and who answered:
    `cached` when it was there already; `coalesced_with` is the job of this owner that it waited, or waits, for.
    """

    id: str
    owner: str
    kind: Kind | str
    status: Status
    mode: Mode | str
    model: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    result: Mapping[str, Any] | None
    usage: Mapping[str, int] | None
    error: JobError | None
    attempts: tuple[Mapping[str, Any], ...]
    metadata: Mapping[str, str]
    waiting_on: Wait | None
    cached: bool = False
    coalesced_with: str | None = None
    saved: Mapping[str, Any] | None = None
    images: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_simulated(self) -> bool:
        """Whether the sandbox answered, or what it answered another job is this one's answer."""
        by = self.saved or (self.attempts[-1] if self.attempts else {})
        return by.get("provider") == SIMULATOR


def from_ms(ms: int | float | str | None) -> datetime | None:
    """Milliseconds since the epoch → an aware UTC datetime."""
    return None if ms in (None, "") else datetime.fromtimestamp(float(ms) / 1000, UTC)
