"""A job that kills its process every time, among innocent ones."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.deadly import DeadlyUpstream
from tests.support.nemesis import Nemesis, kill_a_worker
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import judge, wait_for_all

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def test_a_poison_job_takes_one_worker_along_and_nobody_else(tmp_path: Path) -> None:
    with DeadlyUpstream() as upstream, Service(tmp_path, sandbox_url=upstream.url) as service:
        ids, poison = submit(service)
        wait_for_all(service, [*ids, poison], within_s=90)
        verdict = judge(service, ids)
        deaths = sum(len(worker.exits) for worker in service.workers)
        print(f"worker deaths={deaths} kills by the poison={upstream.kills} {verdict}; {judge(service, [poison])}")
        assert service.job(poison)["error"]["code"] == "quarantined"
        assert verdict.by_status == {"completed": 400}
        assert deaths == 1


def test_random_kills_on_top_quarantine_nobody_else(tmp_path: Path) -> None:
    with DeadlyUpstream() as upstream, Service(tmp_path, sandbox_url=upstream.url) as service:
        ids, poison = submit(service)
        with Nemesis(kill_a_worker(service), every_s=(1.0, 2.0)) as nemesis:
            until(lambda: nemesis.strikes >= 20, within_s=60, every_s=0.1)
        wait_for_all(service, [*ids, poison], within_s=90)
        verdict = judge(service, ids)
        print(f"kills={nemesis.strikes} by the poison={upstream.kills} {verdict}; {judge(service, [poison])}")
        assert service.job(poison)["error"]["code"] == "quarantined"
        assert verdict.quarantined == 0
        assert verdict.by_status == {"completed": 400}


@pytest.mark.parametrize(("poisons", "innocents", "slots"), [(40, 400, 4), (2, 100, 8)])
def test_many_poison_jobs_on_two_workers_are_all_quarantined_and_nobody_else(
    tmp_path: Path, poisons: int, innocents: int, slots: int
) -> None:
    """More of them than there are slots, or one for each worker: they kill both workers at the same time."""
    with (
        DeadlyUpstream() as upstream,
        Service(tmp_path, workers=2, concurrency=slots, sandbox_url=upstream.url) as service,
    ):
        ids, bad = [], [service.submit("poison") for _ in range(2)]
        for n in range(innocents):
            ids.append(service.submit(f"job {n}"))
            if n % (innocents // poisons) == 0 and len(bad) < poisons:
                bad.append(service.submit("poison"))
        begun = time.monotonic()
        wait_for_all(service, [*ids, *bad], within_s=600)
        took_s = time.monotonic() - begun
        verdict, judged = judge(service, ids), judge(service, bad)
        deaths = sum(len(worker.exits) for worker in service.workers)
        print(f"{took_s:.0f} s; worker deaths={deaths} kills by the poison={upstream.kills} {verdict}; {judged}")
        assert verdict.by_status == {"completed": innocents}
        assert (verdict.quarantined, judged.quarantined) == (0, poisons)
        # Each kills one worker, and its own process twice; a worker takes along the processes of others.
        assert deaths <= poisons
        assert upstream.kills <= 4 * poisons


def submit(service: Service) -> tuple[list[str], str]:
    """400 innocent jobs with the poison in their midst."""
    first = [service.submit(f"job {n}") for n in range(200)]
    poison = service.submit("poison")
    return first + [service.submit(f"job {n}") for n in range(200, 400)], poison
