"""A full disk under the logs of web and workers: jobs are accepted, run, tried again and drained as ever."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.polling import until
from tests.support.service import Service


def test_a_full_disk_under_the_logs_fails_nothing(tmp_path: Path) -> None:
    for name in ("web", "api0"):
        (tmp_path / f"{name}.log").symlink_to("/dev/full")
    with Service(tmp_path, workers=1) as service:
        service.tell_sandbox(fail={"status": 503, "times": 1})
        jobs = [service.submit(f"question {number}") for number in range(3)]
        until(lambda: {service.job(one)["status"] for one in jobs} == {"completed"}, within_s=60)
        worker = service.workers[0]
        worker.retire()
        worker.kill(signal.SIGTERM)
        until(lambda: worker.exits, within_s=30, what="the worker's leaving")
        assert worker.exits == [0]
