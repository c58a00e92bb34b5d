"""A Redis that is there and takes no writes: a replica after a failover, or one that has lost its replicas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from redis import Redis

from tests.support.polling import until
from tests.support.service import Service
from tests.support.valkey import free_port

pytestmark = pytest.mark.timeout(90)


def demote(redis: Redis) -> None:
    redis.replicaof("127.0.0.1", free_port())


def promote(redis: Redis) -> None:
    redis.replicaof("NO", "ONE")


def want_a_replica(redis: Redis) -> None:
    redis.config_set("min-replicas-to-write", 1)


def want_none(redis: Redis) -> None:
    redis.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize(("refuse", "relent"), [(demote, promote), (want_a_replica, want_none)])
def test_what_cannot_be_written_is_refused_and_what_was_accepted_waits(
    tmp_path: Path, refuse: Callable[[Redis], None], relent: Callable[[Redis], None]
) -> None:
    with Service(tmp_path, workers=1) as service:
        service.tell_sandbox(latency_ms=1500)
        running = service.submit()
        until(lambda: service.job(running)["status"] == "processing", within_s=10)
        refuse(service.valkey.client)
        assert service.post().status_code == 503
        assert requests.get(f"{service.url}/readyz", timeout=5).status_code == 503
        until(lambda: "heartbeat.missed" in (tmp_path / "api0.log").read_text(), within_s=10)
        relent(service.valkey.client)
        later = service.submit()
        for job_id in (running, later):
            until(lambda job_id=job_id: service.job(job_id)["status"] == "completed", within_s=30)  # type: ignore[misc]
            assert service.job(job_id)["error"] is None
        print(f"exits={service.workers[0].exits}")
        assert "duty.broke" not in (tmp_path / "api0.log").read_text()
