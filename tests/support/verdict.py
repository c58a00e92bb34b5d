"""What became of the jobs that were accepted: counted from their records, Redis' own file, and the logs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.support import trail
from tests.support.polling import until
from tests.support.service import Service

FINAL = {"completed", "failed", "cancelled", "expired"}
FIELDS = ("status", "error_code", "tries", "crashes", "n")
#: A worker's or its child's word that it ended a job, in the log: when, which job, by which of its attempts.
ENDED = re.compile(
    r"^(\S+) .*attempt\.ended .*job_id=(\S+) n=(\d+) outcome=(?:Completed|Refused|Expired) owned=True", re.MULTILINE
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Counts over the accepted jobs. `calls` is how often the sandbox was called for them.

    `settled_twice`: an end was written, and then another status or end. `stale`: the last to write an end was an
    attempt that was not the job's newest.
    """

    accepted: int
    by_status: Counter[str]
    lost: int
    settled_twice: int
    stale: int
    quarantined: int
    claims: int
    calls: int

    def __str__(self) -> str:
        return (
            f"accepted={self.accepted} {dict(self.by_status)} lost={self.lost} settled_twice={self.settled_twice} "
            f"stale={self.stale} quarantined={self.quarantined} claims={self.claims} calls={self.calls}"
        )

    def is_clean(self) -> bool:
        """Every accepted job ended, once, and none was quarantined."""
        return self.accepted > 0 and not (self.lost or self.settled_twice or self.stale or self.quarantined)


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
    found = dict(zip(ids, records(service.valkey.client, ids), strict=True))
    written = trail.statuses(service.valkey.client, service.valkey.data)
    arrived = {(c["job_id"], c["attempt"]) for c in calls(service.sandbox_log) if c["job_id"] in found}
    for job_id, record in found.items():
        assert record["status"] not in FINAL or record["status"] in written[job_id], "the file does not tell all"
    ends, by_status = last_ends(service.data), Counter(str(record["status"]) for record in found.values())
    assert ends or not by_status["completed"], "no log tells who completed these jobs"
    return Verdict(
        accepted=len(ids),
        by_status=by_status,
        lost=sum(record["status"] not in FINAL for record in found.values()),
        settled_twice=sum(not FINAL.isdisjoint(written[job_id][:-1]) for job_id in ids),
        stale=sum(record["n"] != ends.get(job_id, record["n"]) for job_id, record in found.items()),
        quarantined=sum(record["error_code"] == "quarantined" for record in found.values()),
        claims=sum(int(record["n"] or 0) for record in found.values()),
        calls=len(arrived),
    )


def last_ends(logs: Path) -> dict[str, str]:
    """Job id → the attempt that wrote its end, by the last worker that says so.

    The last one counts: an end that a killed Redis forgot is rightly written again, by a newer attempt.
    """
    said = [match.groups() for log in logs.glob("*.log") for match in ENDED.finditer(log.read_text(errors="replace"))]
    return {job_id: n for _at, job_id, n in sorted(said)}


def claims_in_a_hold(service: Service, ids: Iterable[str], *, hold_s: float) -> int:
    """Calls that were begun after a 429 was written down and before its Retry-After was over, by Redis' clock.

    A call that was begun before is under way, and may reach the sandbox any time later.
    """
    pipe = service.valkey.client.pipeline(transaction=False)
    for job_id in ids:
        pipe.hget(f"tandem:job:{job_id}", "attempts")
    attempts = [one for trail in pipe.execute() for one in json.loads(trail)]
    refused = [one["ended_at"] for one in attempts if one["outcome"] == "rate_limited"]
    assert refused
    return sum(any(at < one["started_at"] < at + hold_s * 1000 for at in refused) for one in attempts)
