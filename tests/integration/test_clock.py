"""Redis' clock is set back by an hour while everything runs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from redis import Redis

from tasks.store import keys
from tests.store import clock
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import judge, wait_for_all

HOUR_S = 3600.0


def test_a_clock_set_back_by_an_hour_keeps_nobody_waiting(tmp_path: Path) -> None:
    env = {"TANDEM_LIMIT_WINDOW_S": "2", "TANDEM_SANDBOX_RPM": "4"}
    with Service(tmp_path, workers=2, concurrency=4, env=env) as service:
        redis = service.valkey.client
        clock.ahead(redis, HOUR_S)
        set_back(service, lambda: clock.step_back(redis, HOUR_S))


def set_back(service: Service, step_back: Callable[[], None]) -> None:
    """Jobs in a backoff, behind a limit and in the hand of a killed worker go on in seconds, not in an hour."""
    redis = service.valkey.client
    service.tell_sandbox(latency_ms=1500, fail={"status": 503, "retry_after_s": 4, "times": 1})
    ids = [service.submit("fails once")]
    until(lambda: field(redis, ids[0], "phase") == "backoff", within_s=20)
    ids += [service.submit(f"job {n}") for n in range(8)]
    until(lambda: any(field(redis, one, "phase") == "parked" for one in ids), within_s=20)
    in_hand = until(lambda: [one for one in ids if field(redis, one, "status") == "processing"], within_s=20)
    holder = str(field(redis, in_hand[0], "worker")).partition("@")[0]
    service.workers[int(holder.removeprefix("api.sandbox").removeprefix("api"))].kill(signal.SIGKILL)
    step_back()
    wait_for_all(service, ids, within_s=60)
    assert judge(service, ids).by_status == {"completed": len(ids)}


def field(redis: Redis, job_id: str, name: str) -> object:
    return redis.hget(keys.job(job_id), name)
