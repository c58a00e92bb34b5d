"""The whole service in front of a real engine: the way there and back, cancel, the engine's death, the worker's end."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from datetime import datetime

import psutil
import pytest
import requests

from tests.support.polling import until
from tests.support.service import Service, Supervised
from tests.support.verdict import calls, judge, records, wait_for_all
from tests.vllm import real

pytestmark = pytest.mark.timeout(400)

QUESTION, ANSWER = "What is the capital of France?", "The capital of France is Paris."
#: Random tokens at the highest temperature rarely end by themselves: seconds of work for the tiny model. (Its own
#: generation_config would have it take the likeliest token whatever the temperature.)
LONG = {"temperature": 2.0, "max_tokens": 1500}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    real.require()
    env = {
        "TANDEM_MODEL": str(real.MODEL), "TANDEM_VLLM": str(real.VENV / "bin" / "vllm"),
        "TANDEM_VLLM_ARGS": "--max-model-len 2048 --generation-config vllm",
        "TANDEM_SANDBOX": "1", "TANDEM_LEASE_S": "6", "TANDEM_DRAIN_S": "4",
    }  # fmt: skip
    with Service(tmp_path_factory.mktemp("service"), workers=1, env=env) as running:
        running.add_worker("gpu")
        until(lambda: gpu_workers(running, "ready"), within_s=real.START_S, what="a ready gpu worker")
        yield running


def gpu_workers(service: Service, state: str) -> list[dict[str, object]]:
    """The gpu workers in this state, as /readyz tells."""
    workers = service.http.get(f"{service.url}/readyz", timeout=10).json()["workers"]
    return [one for one in workers if "gpu" in str(one["queues"]) and one["state"] == state]


def engine_port(worker: Supervised) -> int:
    """Where the engine of a gpu worker listens."""
    for child in psutil.Process(worker.process.pid).children(recursive=True):
        if "serve" in (line := child.cmdline()) and "--port" in line:
            return int(line[line.index("--port") + 1])
    raise AssertionError("the worker has no engine")


def running_in(worker: Supervised) -> int:
    """How many requests the engine works on, by its own count."""
    text = requests.get(f"http://127.0.0.1:{engine_port(worker)}/metrics", timeout=10).text
    found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", text, re.MULTILINE)
    return int(sum(float(value) for value in found))


def engine_core(worker: Supervised) -> psutil.Process:
    """The process of a worker's engine that computes. Suspended, it answers nobody and looks busy."""
    children = psutil.Process(worker.process.pid).children(recursive=True)
    return next(child for child in children if child.name().startswith("VLLM::EngineCor"))


def processing(service: Service, ids: list[str]) -> int:
    """How many of the jobs are in somebody's hands."""
    return sum(record["status"] == "processing" for record in records(service.valkey.client, ids))


@pytest.mark.parametrize("mode", ["auto", "gpu"])
def test_the_engine_answers_through_rest_and_celery(service: Service, mode: str) -> None:
    answer = service.post(QUESTION, mode=mode, temperature=0, cache="off", headers={"Prefer": "wait=30"})
    job = answer.json()
    assert answer.status_code == 200
    assert job["result"]["content"] == ANSWER
    [attempt] = job["attempts"]
    assert (attempt["queue"], attempt["provider"], attempt["model"]) == ("gpu", "vllm", "tiny-chat")


def test_a_named_model_is_served_and_the_api_queue_too(service: Service) -> None:
    named = service.post(QUESTION, model="tiny-chat", temperature=0, cache="off", headers={"Prefer": "wait=30"}).json()
    hosted = service.post(QUESTION, mode="api", headers={"Prefer": "wait=30"}).json()
    assert named["result"]["content"] == ANSWER
    assert hosted["result"]["content"].startswith("[simulated] ")
    assert {c["job_id"] for c in calls(service.sandbox_log)} == {hosted["id"]}, "a prompt left the house"


def test_a_full_load_is_answered_exactly(service: Service) -> None:
    ids = [service.submit(QUESTION, mode="gpu", temperature=0, cache="off") for _ in range(200)]
    wait_for_all(service, ids, within_s=60)
    assert {service.job(job_id)["result"]["content"] for job_id in ids} == {ANSWER}


def test_a_cancelled_job_leaves_the_engine(service: Service) -> None:
    worker = service.workers[1]
    core = engine_core(worker)
    core.suspend()  # so that all of them are there when the first one begins
    ids = [service.submit(f"tell me more about {n}", mode="gpu", **LONG) for n in range(64)]
    until(lambda: processing(service, ids) == 64, within_s=20)
    core.resume()
    until(lambda: running_in(worker) >= 4, within_s=30)
    for job_id in ids:
        service.http.post(f"{service.url}/jobs/{job_id}/cancel", timeout=5).raise_for_status()
    cancelled_at = time.monotonic()
    until(lambda: running_in(worker) == 0, within_s=10, every_s=0.1)
    took_s = time.monotonic() - cancelled_at
    cut = judge(service, ids).by_status["cancelled"]
    print(f"{cut} of 64 calls cut; the engine was empty {took_s:.2f} s after the last cancel")
    assert cut > 0
    assert took_s <= 2


def test_jobs_outlive_the_death_of_their_engine(service: Service) -> None:
    worker = service.workers[1]
    engine_core(worker).suspend()
    ids = [service.submit(QUESTION, mode="gpu") for _ in range(16)]
    until(lambda: processing(service, ids) == 16, within_s=20)
    engine_core(worker).kill()
    wait_for_all(service, ids, within_s=real.START_S)
    found = records(service.valkey.client, ids)
    trails = [service.job(job_id)["attempts"] for job_id in ids]
    print(f"{judge(service, ids)}; outcomes {sorted({a['outcome'] for trail in trails for a in trail})}")
    assert judge(service, ids).by_status == {"completed": 16}
    assert {record["tries"] for record in found} == {"0"}, "somebody was charged"
    assert any(a["outcome"] == "engine_lost" for trail in trails for a in trail)
    assert worker.exits == []


def test_sigterm_hands_long_jobs_to_another_worker(service: Service) -> None:
    """64 jobs in flight and their engine: out within the grace and 2 s, gone on with elsewhere in 2 s, none charged."""
    leaving = service.workers[1]
    other = service.add_worker("gpu", TANDEM_DATA=str(service.data / "other"))  # a device has one engine
    until(lambda: len(gpu_workers(service, "ready")) == 2, within_s=real.START_S, what="two ready gpu workers")
    other.kill(signal.SIGSTOP)  # so that the first one takes them all
    engine_core(leaving).suspend()  # so that they are long ones
    ids = [service.submit(QUESTION, mode="gpu") for n in range(64)]
    until(lambda: processing(service, ids) == 64, within_s=20)
    other.kill(signal.SIGCONT)
    leaving.retire()
    told_at = time.monotonic()
    leaving.kill(signal.SIGTERM)
    until(lambda: leaving.exits, within_s=20)
    left_s = time.monotonic() - told_at
    released = [job_id for job_id in ids if any(a["outcome"] == "released" for a in service.job(job_id)["attempts"])]
    until(lambda: all(len(service.job(job_id)["attempts"]) > 1 for job_id in released), within_s=10)
    wait_for_all(service, ids, within_s=120)
    gaps = [gap_s(service.job(job_id)["attempts"]) for job_id in released]
    print(
        f"left after {left_s:.2f} s; {len(released)} released, gone on after {max(gaps):.2f} s; {judge(service, ids)}"
    )
    assert leaving.exits == [0]
    assert left_s <= 4 + 2
    assert len(released) == 64
    assert max(gaps) <= 2
    assert {record["tries"] for record in records(service.valkey.client, ids)} == {"0"}
    assert judge(service, ids).by_status == {"completed": 64}


def gap_s(attempts: list[dict[str, str]]) -> float:
    """Seconds from the release of a job to the start of its next attempt."""
    at = next(n for n, attempt in enumerate(attempts) if attempt["outcome"] == "released")
    ended, started = attempts[at]["ended_at"], attempts[at + 1]["started_at"]
    return (datetime.fromisoformat(started) - datetime.fromisoformat(ended)).total_seconds()
