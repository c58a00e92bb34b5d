"""Items of batches that wait in the real engine let a single job overtake them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.store import keys
from tests.support import batch
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import records, wait_for_all
from tests.vllm import real
from tests.vllm.test_service import engine_core, gpu_workers, processing, running_in

pytestmark = pytest.mark.timeout(400)

#: What the engine runs at a time here; all else waits in it.
SEATS = 2
ITEMS = 40
WORK = {"temperature": 2.0, "max_tokens": 100}


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    real.require()
    env = {
        "TANDEM_MODEL": str(real.MODEL), "TANDEM_VLLM": str(real.VENV / "bin" / "vllm"),
        "TANDEM_VLLM_ARGS": f"--max-model-len 2048 --generation-config vllm --max-num-seqs {SEATS}",
    }  # fmt: skip
    with Service(tmp_path_factory.mktemp("service"), workers=0, env=env) as running:
        running.add_worker("gpu")
        until(lambda: gpu_workers(running, "ready"), within_s=real.START_S, what="a ready gpu worker")
        yield running


def test_a_single_job_overtakes_the_items_that_wait_in_the_engine(service: Service) -> None:
    worker, redis = service.workers[0], service.valkey.client
    items = [{"custom_id": str(n), "prompt": f"tell me more about {n}", "mode": "gpu", **WORK} for n in range(ITEMS)]
    batch_id = batch.submit(service, items)
    ids = [f"job_{batch_id.removeprefix('batch_')}-{n}" for n in range(1, ITEMS + 1)]
    until(lambda: running_in(worker) >= ITEMS / 2, within_s=60, every_s=0.02, what="items waiting in the engine")
    engine_core(worker).suspend()  # so that the job is there before the next item begins
    single = service.submit("What is the capital of France?", mode="gpu", **WORK)
    until(lambda: processing(service, [single]) == 1, within_s=20)
    engine_core(worker).resume()
    wait_for_all(service, [single], within_s=60)
    batch.ended(service, batch_id, within_s=120)
    times = {job_id: redis.hmget(keys.job(job_id), "started_at", "finished_at") for job_id in [single, *ids]}
    began, ended = (int(str(at)) for at in times.pop(single))
    waited = sum(int(str(first)) < began and int(str(last)) > ended for first, last in times.values())
    print(f"{waited} of {ITEMS} items came into the engine before the job and ended behind it")
    assert waited >= ITEMS / 4
    # The tiny model says anything at this temperature: now and then it begins to think, and runs out of tokens there.
    ends = {record.get("error_code") or record["status"] for record in records(redis, [single, *ids])}
    assert ends <= {"completed", "reasoning_exhausted"}
