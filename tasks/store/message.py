"""What Celery carries of a job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Message:
    """What Celery carries of a job: a hint to look at it."""

    job_id: str
    epoch: int
    queue: str
    priority: int


def messages(flat: Iterable[Any]) -> list[Message]:
    """[id, epoch, queue, priority, id, …] → messages."""
    parts = iter(flat)
    return [Message(job_id=i, epoch=int(e), queue=q, priority=int(p)) for i, e, q, p in zip(*[parts] * 4, strict=True)]
