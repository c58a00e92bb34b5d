"""A provider that refuses our key, through real workers and both hosted dialects: nothing accepted is burnt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import batch, hosted
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

pytestmark = pytest.mark.timeout(120)

CATALOG = """
[[model]]
id = "acme/both"
nim = "acme/both"
openrouter = "acme/both:free"
"""


SOON = {"TANDEM_CIRCUIT_OPEN_S": "1", "TANDEM_CIRCUIT_LONGEST_S": "2"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hosted.service(tmp_path_factory.mktemp("keys"), CATALOG, workers=1, **SOON) as service:
        yield service


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    yield running
    accept(running)
    running.submit("Is it good again?", mode="api")
    until(lambda: not refused(running), within_s=15, what="the key accepted again")


def refuse(service: Service, status: int) -> None:
    said = {"fail": {"status": status}}
    service.http.put(f"{service.sandbox_root}/control/nim", json=said, timeout=5).raise_for_status()


def accept(service: Service) -> None:
    service.http.delete(f"{service.sandbox_root}/control", timeout=5).raise_for_status()


def refused(service: Service) -> list[dict[str, Any]]:
    return list(service.http.get(f"{service.url}/readyz", timeout=5).json()["keys_refused"])


def ended(service: Service, job_id: str) -> dict[str, Any]:
    return dict(until(lambda: (found := service.job(job_id))["finished_at"] and found, within_s=30, what="the end"))


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "authentication_failed"), (402, "payment_required"), (403, "access_denied")]
)
def test_a_batch_waits_for_the_key_and_completes_once_it_is_good(service: Service, status: int, reason: str) -> None:
    refuse(service, status)
    since = len(calls(service.sandbox_log))
    batch_id = batch.submit(service, [{"custom_id": str(i), "prompt": f"{status} {i}"} for i in range(60)], mode="api")
    single = service.submit(f"single {status}", mode="api")
    waits = until(
        lambda: (found := service.job(single)["waiting_on"]) and found["reason"] == "key_refused" and found,
        within_s=20,
        what="the job waiting for the key",
    )
    assert waits["until"] is not None
    [held] = until(lambda: refused(service), within_s=5)
    assert (held["provider"], held["reason"]) == ("nim", reason)
    limits = {one["provider"]: one for one in service.http.get(f"{service.url}/limits", timeout=5).json()["data"]}
    assert limits["nim"]["key_refused"]["reason"] == reason
    assert limits["openrouter"]["key_refused"] is None
    until(lambda: refused(service)[0]["waiting"] > 30, within_s=20, what="the batch's items waiting")
    found = batch.get(service, batch_id)
    assert (found["status"], found["counts"]["failed"]) == ("in_progress", 0)
    # Those that were under way when the first was refused, and whoever asked again since.
    asked = [one for one in calls(service.sandbox_log)[since:] if one["event"] == "arrived"]
    assert len(asked) < 30
    accept(service)
    found = batch.ended(service, batch_id)
    assert (found["status"], found["counts"]["completed"]) == ("completed", 60)
    job = ended(service, single)
    assert job["status"] == "completed"
    assert {one["reason"] for one in job["attempts"][:-1]} <= {reason}
    assert refused(service) == []


def test_a_job_that_may_go_elsewhere_does_and_its_trail_says_why(service: Service) -> None:
    refuse(service, 401)
    first, later = (ended(service, service.submit(text, model="acme/both")) for text in ("one", "two"))
    assert [one["status"] for one in (first, later)] == ["completed"] * 2
    trails = [[(a["provider"], a["outcome"], a["reason"]) for a in job["attempts"]] for job in (first, later)]
    last = ("openrouter", "completed", None)
    assert trails[0] == [("nim", "failed", "authentication_failed"), last]
    assert trails[1][-1] == last
    assert trails[1][0] in [("nim", "passed_over", "key_refused"), ("nim", "failed", "authentication_failed")]


def test_a_wrong_key_is_found_at_the_start_and_another_one_lets_all_go_at_once(tmp_path: Path) -> None:
    """A restart with another key is how an operator mends it: nobody waits for the pause to end."""
    hour = {"TANDEM_CIRCUIT_OPEN_S": "3600", "TANDEM_CIRCUIT_LONGEST_S": "3600"}
    with hosted.service(tmp_path, CATALOG, workers=1, NVIDIA_API_KEY="wrong", **hour) as service:
        [held] = until(lambda: refused(service), within_s=10, what="the key looked at")
        assert (held["provider"], held["reason"]) == ("nim", "authentication_failed")
        jobs = [service.submit(f"{i}", mode="api") for i in range(5)]
        until(lambda: refused(service)[0]["waiting"] == 5, within_s=10, what="all of them waiting")
        assert [call for call in calls(service.sandbox_log) if call["event"] == "arrived"] == []
        service.workers[0].end()
        service.add_worker(NVIDIA_API_KEY="nvapi-good")
        assert [ended(service, job_id)["status"] for job_id in jobs] == ["completed"] * 5
        assert refused(service) == []
