"""SIGTERM to a worker's whole process group, as some supervisors send it, while a suspect runs in its child."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import cast

import pytest

from tests.support.polling import until
from tests.support.service import Service

pytestmark = pytest.mark.timeout(90)


def test_a_suspect_is_put_back_uncharged_after_the_grace_and_stays_one(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, env={"TANDEM_DRAIN_S": "1"}) as service:
        service.tell_sandbox(latency_ms=60_000)
        job_id = service.submit()
        (worker,) = service.workers
        runs(service, job_id, attempt=1)
        worker.kill()
        runs(service, job_id, attempt=2)
        until(lambda: record(service, job_id)["suspect"] == "1", within_s=5)
        children = until(lambda: children_of(worker.process.pid), within_s=10, what="a child process")
        os.killpg(worker.process.pid, signal.SIGTERM)
        until(lambda: len(worker.exits) == 2, within_s=5, what="the worker's leaving")
        until(lambda: not any(map(alive, children)), within_s=5, what="the end of its children")

        put_back = service.job(job_id)["attempts"][1]
        assert (put_back["outcome"], put_back["reason"]) == ("released", "the worker was stopped")
        assert record(service, job_id)["crashes"] == "0"
        assert record(service, job_id)["suspect"] == "1"
        service.tell_sandbox(latency_ms=0)
        worker.kill()
        until(lambda: service.job(job_id)["status"] == "completed", within_s=30)


def runs(service: Service, job_id: str, *, attempt: int) -> None:
    def is_so() -> bool:
        job = service.job(job_id)
        return job["status"] == "processing" and len(job["attempts"]) == attempt

    until(is_so, within_s=20, what=f"attempt {attempt}")


def record(service: Service, job_id: str) -> dict[str, str]:
    return cast(dict[str, str], service.valkey.client.hgetall(f"tandem:job:{job_id}"))


def children_of(pid: int) -> list[int]:
    """The forkserver and what it has forked: three at least, with the tracker of resources."""
    found = [pid]
    for one in found:
        for listed in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in listed.read_text().split()]
    return found[1:] if len(found) > 3 else []


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
