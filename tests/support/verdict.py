"""What became of the jobs that were accepted: counted from their records and the sandbox's log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.support.polling import until
from tests.support.service import Service

FINAL = {"completed", "failed", "cancelled", "expired"}
FIELDS = ("status", "error_code", "attempts", "tries", "crashes", "n")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Counts over the accepted jobs. `calls` is how often the sandbox was called for them."""

    accepted: int
    by_status: Counter[str]
    lost: int
    settled_twice: int
    quarantined: int
    claims: int
    calls: int

    def __str__(self) -> str:
        return (
            f"accepted={self.accepted} {dict(self.by_status)} lost={self.lost} settled_twice={self.settled_twice} "
            f"quarantined={self.quarantined} claims={self.claims} calls={self.calls}"
        )

    def is_clean(self) -> bool:
        """Every accepted job ended, once, and none was quarantined."""
        return (self.lost, self.settled_twice, self.quarantined) == (0, 0, 0) and self.accepted > 0


def records(redis: Redis, ids: Iterable[str]) -> list[dict[str, Any]]:
    """The fields that the verdict needs, per job."""
    pipe = redis.pipeline(transaction=False)
    for job_id in ids:
        pipe.hmget(f"tandem:job:{job_id}", FIELDS)
    return [dict(zip(FIELDS, row, strict=True)) for row in pipe.execute()]


def unfinished(redis: Redis, ids: Sequence[str]) -> int:
    """How many of the jobs are not over; -1 while Redis is away."""
    try:
        return sum(record["status"] not in FINAL for record in records(redis, ids))
    except RedisError:
        return -1


def wait_for_all(service: Service, ids: Sequence[str], *, within_s: float) -> None:
    """Wait until every job is over; when that does not happen the verdict will say so."""
    try:
        until(lambda: unfinished(service.valkey.client, ids) == 0, within_s=within_s, every_s=0.25)
    except AssertionError:
        print(f"after {within_s:g} s {unfinished(service.valkey.client, ids)} jobs are not over")


def calls(log: Path) -> list[dict[str, Any]]:
    """The sandbox's log: one entry per call at its arrival, and one at its end."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def judge(service: Service, ids: Sequence[str]) -> Verdict:
    """Count."""
    assert len(set(ids)) == len(ids)
    found = records(service.valkey.client, ids)
    ours = set(ids)
    completions = [
        sum(attempt.get("outcome") == "completed" for attempt in json.loads(record["attempts"] or "[]"))
        for record in found
    ]
    arrived = {(c["job_id"], c["attempt"]) for c in calls(service.sandbox_log) if c["job_id"] in ours}
    return Verdict(
        accepted=len(ids),
        by_status=Counter(str(record["status"]) for record in found),
        lost=sum(record["status"] not in FINAL for record in found),
        settled_twice=sum(count > 1 for count in completions),
        quarantined=sum(record["error_code"] == "quarantined" for record in found),
        claims=sum(int(record["n"] or 0) for record in found),
        calls=len(arrived),
    )
