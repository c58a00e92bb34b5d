"""A job to be accepted, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.store import keys
from tasks.store.answers import Question
from tasks.store.message import Message

IDEMPOTENCY_TTL_S = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The outcome of an accept. `unsent` is the error that kept its message back, if any; times are its record's.

    `shares`: it has another's answer, or waits for it; `lifted` are messages of a leader in a hurry since.
    """

    job_id: str
    replayed: bool = False
    created_ms: int = 0
    expires_ms: int = 0
    unsent: str = ""
    shares: bool = False
    lifted: tuple[Message, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to accept. `fields` is its record as strings (see record.py); `list_age_s` is the oldest worth listing.

    `answered_by` is the hosted provider and its id of the model, if it goes to one: none that is known to be retired.
    `message` is the Celery message to send in the same step; "" leaves that to the caller. `question` is what it asks,
    where its answer may be shared.
    """

    job_id: str
    owner: str
    idempotency_key: str | None
    fingerprint: str
    expires_in_s: float
    list_age_s: float
    fields: Mapping[str, str]
    message: str = ""
    answered_by: tuple[str, str] | None = None
    question: Question | None = None

    def keys(self) -> list[str]:
        """The keys of the script `accept`."""
        idem = keys.idempotency("job", self.owner, self.idempotency_key) if self.idempotency_key else ""
        retired = keys.retired(*self.answered_by) if self.answered_by else ""
        names = [keys.job(self.job_id), idem, keys.owner_jobs(self.owner), retired]
        return names + (list(self.question.keys()) if self.question else [])

    def args(self, ttl_s: int) -> list[Any]:
        """What it takes beside them."""
        fields = {**self.fields, **self.question.fields()} if self.question else self.fields
        return [
            self.job_id,
            self.fingerprint,
            IDEMPOTENCY_TTL_S,
            int(self.expires_in_s * 1000),
            int(self.list_age_s * 1000),
            self.message,
            ttl_s,
            *(part for pair in fields.items() for part in pair),
        ]
