"""What is kept of a batch, and for how long: its items as long as itself, and then nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support import batch
from tests.support.polling import until
from tests.support.service import Service

TTL_S = 2


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It keeps records for two seconds."""
    env = {"TANDEM_JOB_TTL_S": str(TTL_S), "TANDEM_CACHE_TTL_S": "1"}
    with Service(tmp_path_factory.mktemp("forgetful"), workers=1, concurrency=16, env=env) as service:
        yield service


def kept_of(service: Service, batch_id: str) -> list[str]:
    """What Redis has of a batch, whoever wrote it, beside the word that it was erased."""
    found = service.valkey.client.keys(f"*{batch_id.removeprefix('batch_')}*")
    return sorted(str(key) for key in found if ":erased:" not in str(key))


def test_a_batch_that_runs_for_longer_than_records_are_kept_loses_none(forgetful: Service) -> None:
    slow = [{"custom_id": f"c{n}", "prompt": f"q {n}", "model": "sandbox/slow-500ms"} for n in range(150)]
    began_s = time.monotonic()
    batch_id = batch.submit(forgetful, slow, on_complete={"prompt": "{{total}}", "model": "sandbox/echo"})
    found = batch.ended(forgetful, batch_id)
    assert time.monotonic() - began_s > 2 * TTL_S, "it has shown nothing"
    assert (found["counts"]["completed"], found["on_complete"]["status"]) == (150, "completed")
    assert len(batch.read(forgetful, batch_id, "results")) == 150
    until(lambda: not kept_of(forgetful, batch_id), within_s=TTL_S + 10, every_s=0.1, what="nothing of it being left")


def test_another_round_keeps_what_was_answered_before(forgetful: Service) -> None:
    some = [{"custom_id": f"c{n}", "prompt": f"q {n}", "model": "sandbox/tokens-1"} for n in range(20)]
    late = {"custom_id": "late", "prompt": "x", "model": "sandbox/times-1+status-400+slow-5000ms"}
    batch_id = batch.submit(forgetful, [*some, late])
    assert batch.ended(forgetful, batch_id)["counts"]["failed"] == 1
    assert batch.act(forgetful, batch_id, "retry").status_code == 202
    batch.ended(forgetful, batch_id)
    assert len(batch.read(forgetful, batch_id, "results")) == 21


def test_a_batch_that_was_rejected_is_gone_in_the_end(forgetful: Service) -> None:
    batch_id = batch.submit(forgetful, [{"custom_id": "a", "prompt": "x"}, {"custom_id": "b"}])
    assert batch.ended(forgetful, batch_id)["status"] == "failed"
    until(lambda: not kept_of(forgetful, batch_id), within_s=TTL_S + 10, every_s=0.1, what="nothing of it being left")


def test_an_erased_batch_leaves_nothing_at_all(forgetful: Service) -> None:
    batch_id = batch.submit(forgetful, [{"custom_id": "a", "prompt": "x", "model": "sandbox/slow-60000ms"}])
    until(lambda: batch.get(forgetful, batch_id)["status"] == "in_progress", within_s=10)
    assert forgetful.http.delete(f"{forgetful.url}/batches/{batch_id}", timeout=10).status_code == 204
    until(lambda: not kept_of(forgetful, batch_id), within_s=TTL_S + 10, every_s=0.1, what="nothing of it being left")


def test_a_batch_whose_item_was_erased_ends(forgetful: Service) -> None:
    items = [{"custom_id": f"c{n}", "prompt": "x", "model": "sandbox/slow-60000ms"} for n in range(2)]
    batch_id = batch.submit(forgetful, items)
    until(lambda: batch.get(forgetful, batch_id)["status"] == "in_progress", within_s=10)
    for n in (1, 2):
        job_id = f"job_{batch_id.removeprefix('batch_')}-{n}"
        assert forgetful.http.delete(f"{forgetful.url}/jobs/{job_id}", timeout=10).status_code == 204
    assert batch.ended(forgetful, batch_id, within_s=10)["counts"]["cancelled"] == 2
