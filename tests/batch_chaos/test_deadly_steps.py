"""Steps of batches that kill their process each time: they take one worker along, and end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.domain import prefix
from tests.support import batch
from tests.support.killer import Killer
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import judge, wait_for_all

pytestmark = [pytest.mark.batch_chaos, pytest.mark.timeout(180)]


def items(count: int, **fields: Any) -> Iterator[dict[str, Any]]:
    return ({"custom_id": str(n), "prompt": f"question {n}", **fields} for n in range(count))


def test_a_batch_whose_reading_kills_its_process_fails(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1) as service, Killer(service, "LRANGE tandem:batch:", ":chunk:") as killer:
        batch_id = batch.submit(service, items(3000))
        found = batch.ended(service, batch_id, within_s=60)
        print(f"killed {len(killer.killed)} processes; the worker ended with {service.workers[0].exits}")
        assert (found["status"], found["error"]["code"]) == ("failed", "quarantined")
        assert found["counts"]["cancelled"] == 3000
        assert (len(service.workers[0].exits), len(killer.killed)) == (1, 3)
        assert batch.act(service, batch_id, "retry").status_code == 422
        redis = service.valkey.client
        until(lambda: redis.ttl(f"tandem:batch:{batch_id}") > 0, within_s=10, what="its lapse")
        assert redis.keys(f"tandem:batch:{batch_id}:chunk:*") == []
        service.http.delete(f"{service.url}/batches/{batch_id}", timeout=10).raise_for_status()
        until(lambda: not redis.keys(f"tandem:job:job_{batch_id.removeprefix('batch_')}*"), within_s=20)


def test_a_further_round_that_kills_its_process_fails_and_keeps_the_answers(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1) as service:
        some = [
            *items(1000, model="sandbox/tokens-1"),
            {"custom_id": "bad", "prompt": "x", "model": "sandbox/status-400"},
        ]
        batch_id = batch.submit(service, some)
        assert batch.ended(service, batch_id)["counts"]["failed"] == 1
        reading = f" 0 {prefix.LENGTHS[-1]} job_{batch_id.removeprefix('batch_')}-"
        with Killer(service, "EVALSHA", reading) as killer:
            assert batch.act(service, batch_id, "retry").status_code == 202
            found = batch.ended(service, batch_id, within_s=60)
        print(f"killed {len(killer.killed)} processes; the worker ended with {service.workers[0].exits}")
        assert (found["status"], found["error"]["code"]) == ("failed", "quarantined")
        assert (found["counts"]["completed"], len(service.workers[0].exits)) == (1000, 1)
        assert len(batch.read(service, batch_id, "results")) == 1000
        assert batch.act(service, batch_id, "retry").status_code == 202
        assert batch.ended(service, batch_id)["status"] == "completed"


def test_a_job_over_the_results_whose_making_kills_its_process_is_given_up(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1) as service:
        lines = items(1500, model="sandbox/slow-100ms")
        batch_id = batch.submit(service, lines, on_complete={"prompt": "{{#results}}{{custom_id}}{{/results}}"})
        name = f"tandem:job:job_{batch_id.removeprefix('batch_')}-5"
        with Killer(service, f"HMGET {name} custom_id") as killer:
            found = batch.ended(service, batch_id, within_s=90)
            print(f"killed {len(killer.killed)} processes; the worker ended with {service.workers[0].exits}")
            assert (found["status"], found["counts"]["completed"]) == ("completed", 1500)
            assert found["on_complete"]["error"]["code"] == "quarantined"
            assert (len(service.workers[0].exits), len(killer.killed)) == (1, 3)


def test_a_step_that_silences_its_worker_silences_no_other(tmp_path: Path) -> None:
    """The worker that takes it over runs it in a child process: it goes on working itself."""
    with Service(tmp_path, workers=2) as service:
        lines = items(5, model="sandbox/slow-2000ms")
        batch_id = batch.submit(service, lines, on_complete={"prompt": "{{#results}}{{custom_id}}{{/results}}"})
        name = f"tandem:job:job_{batch_id.removeprefix('batch_')}-5"
        with Killer(service, f"HMGET {name} custom_id", by=signal.SIGSTOP) as killer:
            until(lambda: len(killer.killed) == 2, within_s=60, what="a second process that fell silent")
            silent = {worker.process.pid for worker in service.workers} & set(killer.killed)
            print(f"stopped {killer.killed}, of them workers: {silent}")
            assert len(silent) == 1
            ids = [service.submit(f"job {n}") for n in range(4)]
            wait_for_all(service, ids, within_s=60)
            assert judge(service, ids).by_status == {"completed": 4}
