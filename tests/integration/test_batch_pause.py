"""A paused batch calls nobody: not for its shards, nor for items that wait on their own, nor after a worker's death."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tasks.domain.batch import item_id
from tests.support import batch, mixture
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls, judge

COUNT = 300
#: Fails each item's first three calls: a second and more in backoffs.
FLAKY = "sandbox/times-3+status-503+slow-100ms"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Its workers are killed."""
    with Service(tmp_path_factory.mktemp("own"), concurrency=16, env=mixture.NO_CIRCUIT) as service:
        yield service


def submit(service: Service, model: str) -> tuple[str, list[str]]:
    items = [{"custom_id": f"c{n}", "prompt": f"q {n}", "model": model} for n in range(COUNT)]
    batch_id = batch.submit(service, items, max_attempts=8)
    return batch_id, [item_id(batch_id, n) for n in range(1, COUNT + 1)]


def phases(service: Service, ids: list[str]) -> Counter[str]:
    """How the items that are not over wait; `run` for those that do not."""
    pipe = service.valkey.client.pipeline(transaction=False)
    for job_id in ids:
        pipe.hmget(f"tandem:job:{job_id}", "status", "phase", "reason")
    rows = pipe.execute()
    return Counter(
        "run" if status == "processing" else reason or phase
        for status, phase, reason in rows
        if status in ("pending", "processing")
    )


def calls_of(service: Service, ids: list[str]) -> Counter[str]:
    """How often the provider was called for each."""
    ours = set(ids)
    return Counter(c["job_id"] for c in calls(service.sandbox_log) if c["event"] == "arrived" and c["job_id"] in ours)


def all_rest(service: Service, ids: list[str]) -> None:
    until(lambda: set(phases(service, ids)) <= {"shard", "paused"}, within_s=30, what="all items being held")


def some_sweeps(service: Service, ids: list[str]) -> None:
    """Wait until workers have looked at what is due after this."""
    since = service.valkey.client.time()[0] * 1000 + 2000
    until(lambda: float(service.valkey.client.hget("tandem:sweep", "swept_at") or 0) > since, within_s=20)


def test_nobody_is_called_for_a_paused_batch_and_then_all_of_it_completes(own: Service) -> None:
    batch_id, ids = submit(own, FLAKY)
    until(lambda: phases(own, ids)["provider_overloaded"] >= 10, within_s=30, every_s=0.001)
    # What is not taken yet has to be so still when the pause comes.
    with own.upstream_held():
        assert batch.act(own, batch_id, "pause").json()["paused"] is True
    all_rest(own, ids)
    held, called = phases(own, ids), calls_of(own, ids)
    assert held["paused"] >= 10, "no item was on its own: it has shown nothing"
    assert held["shard"] > 0
    own.workers[0].kill()
    some_sweeps(own, ids)
    assert (phases(own, ids), calls_of(own, ids)) == (held, called)
    assert batch.act(own, batch_id, "resume").json()["paused"] is False
    found = batch.ended(own, batch_id)
    assert (found["status"], found["counts"]["completed"]) == ("completed", COUNT)
    assert set(calls_of(own, ids).values()) == {4}, "called too often, or charged for the wait"
    assert judge(own, ids).is_clean()


def test_items_of_a_worker_that_dies_in_a_pause_are_held_too(own: Service) -> None:
    batch_id, ids = submit(own, "sandbox/slow-3000ms")
    until(lambda: phases(own, ids)["run"] >= 10, within_s=30)
    batch.act(own, batch_id, "pause")
    for worker in own.workers:
        worker.kill()
    all_rest(own, ids)
    held, called = phases(own, ids), calls_of(own, ids)
    assert held["paused"] >= 10
    some_sweeps(own, ids)
    assert calls_of(own, ids) == called
    assert batch.get(own, batch_id)["counts"]["pending"] == held.total()
    assert batch.act(own, batch_id, "cancel").status_code == 200
    found = batch.ended(own, batch_id, within_s=15)
    assert (found["status"], found["counts"]["cancelled"]) == ("cancelled", held.total())
    assert calls_of(own, ids) == called
    assert own.valkey.client.keys("tandem:parked:paused:*") == []
