"""The judge of the fault tests complains when it should: a count that cannot rise proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.claim import Claim
from tasks.store.jobs import Jobs
from tests.store.hand import accept, claim
from tests.support.service import Service
from tests.support.verdict import judge


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Its Redis only: the ends are written by hand here."""
    service = Service(tmp_path)
    service.valkey.start()
    yield service
    service.valkey.stop()


@pytest.fixture
def store(service: Service) -> Jobs:
    return Jobs(service.valkey.client, ttl_s=60)


def end(service: Service, store: Jobs, held: Claim) -> None:
    """Complete the job and say so in the log, as a worker does."""
    assert store.settle(held, Status.COMPLETED, outcome="completed")
    with (service.data / "api0.log").open("a") as log:
        at = datetime.now(UTC).isoformat()
        log.write(f"{at} [info     ] attempt.ended   job_id={held.job_id} n={held.n} outcome=Completed owned=True\n")


def hand_back(store: Jobs, held: Claim) -> None:
    """As if nothing compared any more: the job, though over, is this claim's again."""
    store.redis.hset(keys.job(held.job_id), mapping={"status": "processing", "epoch": held.fence})


def test_one_end_is_clean(service: Service, store: Jobs) -> None:
    held = claim(store, accept(store), "w")
    end(service, store, held)
    verdict = judge(service, [held.job_id])
    assert verdict.is_clean()
    assert (verdict.settled_twice, verdict.stale) == (0, 0)


def test_a_second_end_is_counted(service: Service, store: Jobs) -> None:
    held, other = claim(store, accept(store), "w"), claim(store, accept(store), "w")
    end(service, store, other)
    end(service, store, held)
    hand_back(store, held)
    end(service, store, held)
    verdict = judge(service, [held.job_id, other.job_id])
    assert verdict.settled_twice == 1
    assert not verdict.is_clean()


def test_a_job_that_is_taken_up_again_after_its_end_is_counted(service: Service, store: Jobs) -> None:
    held = claim(store, accept(store), "w")
    assert store.cancel(held.job_id, "o")
    hand_back(store, held)
    assert store.put_back(held, outcome="released", reason="test") is not None
    verdict = judge(service, [held.job_id])
    assert (verdict.settled_twice, verdict.lost) == (1, 1)


def test_an_end_by_an_attempt_that_had_lost_the_job_is_counted(service: Service, store: Jobs) -> None:
    """Written once only, but over the head of the attempt that held the job."""
    held = claim(store, accept(store), "w")
    assert store.put_back(held, outcome="released", reason="test") is not None
    newest = claim(store, held.job_id, "w")
    hand_back(store, held)
    end(service, store, held)
    verdict = judge(service, [held.job_id])
    assert newest.n == held.n + 1
    assert (verdict.settled_twice, verdict.stale) == (0, 1)
    assert not verdict.is_clean()


def test_an_unfinished_job_is_lost(service: Service, store: Jobs) -> None:
    verdict = judge(service, [claim(store, accept(store), "w").job_id])
    assert verdict.lost == 1
    assert not verdict.is_clean()
