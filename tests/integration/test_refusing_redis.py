"""A Redis that is there and takes no writes: a replica after a failover, or one that has lost its replicas."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from redis import Redis

from tasks.store import keys
from tests.support.polling import until
from tests.support.service import Service
from tests.support.valkey import free_port

pytestmark = pytest.mark.timeout(240)


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


def fill(redis: Redis, *, share: float) -> None:
    """Let Redis be full to this share of some 30 MB."""
    redis.setrange("filled", 25_000_000, "x")
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] / share))


def test_above_its_limit_what_was_accepted_still_moves_and_nothing_new_is_claimed(tmp_path: Path) -> None:
    """Its worker, killed, comes up again; what is cancelled is over, and the rest says what it waits for."""
    with Service(tmp_path, workers=1, concurrency=4) as service:
        redis, worker = service.valkey.client, service.workers[0]
        service.tell_sandbox(latency_ms=1500)
        running = [service.submit(f"running {n}") for n in range(4)]
        until(lambda: all(service.job(one)["status"] == "processing" for one in running), within_s=60)
        waiting = [service.submit(f"waiting {n}") for n in range(6)]
        fill(redis, share=1.05)
        assert service.post().status_code == 503
        until(lambda: all(service.job(one)["status"] == "completed" for one in running), within_s=60)
        until(lambda: all(why(service, one) == "storage_full" for one in waiting), within_s=60)
        [first] = redis.zrange(keys.WORKERS, 0, -1)
        worker.kill()
        assert cancel(service, waiting[0])["status"] == "cancelled"
        until(lambda: set(redis.zrange(keys.WORKERS, 0, -1)) - {first}, within_s=60, what="a new worker")
        assert {why(service, one) for one in waiting[1:]} == {"storage_full"}
        redis.delete("filled")
        for one in waiting[1:]:
            until(lambda one=one: service.job(one)["status"] == "completed", within_s=60)  # type: ignore[misc]
        assert worker.exits == [-9], "it did not come up on a full Redis"


def test_a_worker_that_starts_on_a_full_redis_claims_nothing(tmp_path: Path) -> None:
    with Service(tmp_path, workers=0) as service:
        waiting = [service.submit(f"waiting {n}") for n in range(8)]
        fill(service.valkey.client, share=0.985)
        service.add_worker()
        until(lambda: all(why(service, one) == "storage_full" for one in waiting), within_s=60)
        assert [service.job(one)["attempts"] for one in waiting] == [[]] * len(waiting)


def why(service: Service, job_id: str) -> str | None:
    """What a job waits for."""
    waits = service.job(job_id)["waiting_on"]
    return str(waits["reason"]) if waits else None


def cancel(service: Service, job_id: str) -> dict[str, object]:
    answer = service.http.post(f"{service.url}/jobs/{job_id}/cancel", timeout=10)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_worker_that_breaks_ends_with_a_status_that_says_so(tmp_path: Path) -> None:
    """Its Redis user may do everything but pop messages. Asked to stop, a worker's status is 0."""
    users = ["default on nopass ~* &* +@all", "worker on >secret ~* &* +@all -brpop"]
    options = [part for user in users for part in ("--user", *user.split())]
    with Service(tmp_path, workers=1, valkey_options=options) as service:
        asked = service.workers[0]
        broken = service.add_worker(REDIS_URL=service.valkey.url.replace("redis://", "redis://worker:secret@"))
        until(lambda: broken.exits, within_s=40)
        assert broken.exits[0] not in (0, -9)
        asked.retire()
        asked.kill(signal.SIGTERM)
        until(lambda: asked.exits, within_s=20)
        assert asked.exits == [0]
