"""Two versions side by side on one Redis, as in a rolling upgrade and when it is taken back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.store import keys
from tests.support.polling import until
from tests.support.service import ROOT, Service

pytestmark = pytest.mark.chaos

MARK = "RECORD_VERSION, NEWER_MS = {},"


def next_version(data: Path) -> Path:
    """The code of a version whose records this one does not understand."""
    root = data / "next"
    for name in ("tasks", "web"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "celeryconfig.py", root)
    common = root / "tasks/store/lua/common.lua"
    text = common.read_text()
    assert MARK.format(1) in text
    common.write_text(text.replace(MARK.format(1), MARK.format(2)))
    return root


def statuses(service: Service, ids: list[str]) -> set[str]:
    return {service.job(job_id)["status"] for job_id in ids}


def put_back(service: Service, job_id: str) -> int:
    """How often."""
    return int(str(service.valkey.client.hget(keys.job(job_id), "epoch")))


def workers_of(service: Service, job_id: str) -> list[str]:
    return [attempt["worker"].partition("@")[0] for attempt in service.job(job_id)["attempts"]]


@pytest.mark.timeout(180)
def test_jobs_in_flight_outlive_an_upgrade_and_its_being_taken_back(tmp_path: Path) -> None:
    root = next_version(tmp_path)
    with Service(tmp_path, workers=1) as service:
        # In flight when the next version's web comes.
        slow = [service.submit("old", model="sandbox/slow-3000ms") for _ in range(3)]
        service.web.end()
        service.root = root
        web = service.run_web()
        until(service.is_ready, within_s=30, what="the next version's web")
        newer = [service.submit("new") for _ in range(4)]
        until(lambda: all(put_back(service, one) for one in newer), within_s=20, what="the newer ones put back")
        assert statuses(service, newer) == {"pending"}
        until(lambda: statuses(service, slow) == {"completed"}, within_s=20)

        upgraded = service.add_worker()
        until(lambda: statuses(service, newer) == {"completed"}, within_s=40, what="the newer ones answered")
        assert {tuple(workers_of(service, one)) for one in newer} == {("api1",)}, "each once, and by who understands it"

        # Taken back with newer ones in flight: they wait, uncharged; what this version writes is answered.
        held = [service.submit("new", model="sandbox/slow-1000ms") for _ in range(3)]
        until(lambda: "processing" in statuses(service, held), within_s=20)
        upgraded.end()
        web.end()
        service.workers.remove(upgraded)
        service.root = ROOT
        service.run_web()
        until(service.is_ready, within_s=30, what="this version's web")
        again = service.submit("old again")
        until(lambda: service.job(again)["status"] == "completed", within_s=20)
        until(lambda: "pending" in statuses(service, held), within_s=20, what="a lease that lapsed")
        assert statuses(service, held) <= {"pending", "processing", "completed"}

        service.root = root
        service.add_worker()
        until(lambda: statuses(service, held) == {"completed"}, within_s=40)
        assert {service.job(one)["attempts"][-1]["outcome"] for one in held} == {"completed"}
        assert all(int(str(service.valkey.client.hget(keys.job(one), "tries"))) == 0 for one in held)
