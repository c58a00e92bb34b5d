"""What Celery carries of a job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Message:
    """What Celery carries of a job: a hint to look at it. `ahead`: it is to be popped next."""

    job_id: str
    epoch: int
    queue: str
    priority: int
    ahead: bool = False


def messages(flat: Iterable[Any]) -> list[Message]:
    """[id, epoch, queue, priority, ahead, id, …] → messages."""
    parts = zip(*[iter(flat)] * 5, strict=True)
    return [
        Message(job_id=i, epoch=int(e), queue=q, priority=int(p), ahead=int(ahead) == 1) for i, e, q, p, ahead in parts
    ]
