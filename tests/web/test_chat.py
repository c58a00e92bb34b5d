"""`/chat`: the shapes of the earlier interface."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tasks import settlement
from tasks.attempt import Completed, Outcome, Refused
from tasks.domain.job import Status
from tasks.domain.provider_errors import PermanentError
from tasks.domain.result import ChatResult, Completion
from tasks.serving import Serving
from tasks.store import fleet, jobs
from tasks.store.claim import Taker
from tasks.store.fleet import Worker
from tests.web.conftest import MakeClient

BY = Serving(queue="api.sandbox", provider="sandbox", target="m", base_url="http://127.0.0.1:1/v1")
FULL = {
    "message": "Olá, como você está?",
    "max_tokens": 256,
    "temperature": 0.7,
    "use_reasoning": True,
    "idempotency_key": "uuid-gerado-pelo-cliente",
}


def end(job_id: str, outcome: Outcome) -> None:
    """What a worker does."""
    claim = (
        jobs.default()
        .take(job_id, 0, Taker(worker="w", lease_s=5, may_isolate=True, servings=[(BY.queue, BY.provider, BY.target)]))
        .claim
    )
    assert claim is not None
    settlement.write(jobs.default(), claim, BY, outcome)


def submit(client: FlaskClient, **body: Any) -> str:
    answer = client.post("/chat", json={"message": "hi"} | body)
    assert answer.status_code == 202, answer.get_json()
    return str(answer.get_json()["job_id"])


def test_the_complete_example_is_accepted(client: FlaskClient) -> None:
    answer = client.post("/chat", json=FULL)
    said = answer.get_json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/chat/status/{said['job_id']}"
    assert said == {
        "job_id": said["job_id"], "status": "pending", "idempotency_key": "uuid-gerado-pelo-cliente",
    }  # fmt: skip
    assert client.post("/chat", json=FULL).get_json()["job_id"] == said["job_id"]
    job = client.get(f"/jobs/{said['job_id']}").get_json()
    assert (job["kind"], job["mode"], job["model"]) == ("chat", "auto", "default")


def test_a_chat_is_asked_after(client: FlaskClient) -> None:
    job_id = submit(client)
    waiting = client.get(f"/chat/status/{job_id}").get_json()
    assert waiting == {"job_id": job_id, "status": "pending", "created_at": waiting["created_at"], "result": None}
    end(job_id, Completed(completion=Completion(result=ChatResult(content="oi", finish_reason="stop"), usage=None,
                                                model="m")))  # fmt: skip
    done = client.get(f"/chat/status/{job_id}").get_json()
    assert (done["status"], done["result"]["response"], done["result"]["mode"]) == ("completed", "oi", "api")
    assert done["result"]["latency_ms"] >= 0
    assert set(done) == {"job_id", "status", "created_at", "result"}


def test_a_failure_is_told_in_a_string(client: FlaskClient) -> None:
    job_id = submit(client)
    end(job_id, Refused(error=PermanentError("the provider refused")))
    failed = client.get(f"/chat/status/{job_id}").get_json()
    assert failed == {
        "job_id": job_id, "status": "failed", "created_at": failed["created_at"], "error": "the provider refused",
    }  # fmt: skip
    cancelled = submit(client)
    client.post(f"/jobs/{cancelled}/cancel")
    assert client.get(f"/chat/status/{cancelled}").get_json()["error"] == "the job was cancelled"


def test_the_mode_is_said_in_the_query(client: FlaskClient) -> None:
    answer = client.post("/chat?mode=api", json={"message": "hi"})
    assert client.get(f"/jobs/{answer.get_json()['job_id']}").get_json()["mode"] == "api"
    refused = client.post("/chat?mode=gpu", json={"message": "hi"})
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    wrong = client.post("/chat?mode=cloud", json={"message": "hi"})
    assert (wrong.status_code, list(wrong.get_json()["errors"])) == (422, ["mode"])
    torn = client.post("/chat?mode=api&mode=gpu", json={"message": "hi"})
    assert (torn.status_code, list(torn.get_json()["errors"])) == (422, ["mode"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": "a", "messages": [{"role": "user", "content": "a"}]}, "message"),
        ({"message": "a", "prompt": "b"}, "prompt"),
        ({"message": "a", "temperature": 2.5}, "temperature"),
        ({"message": "a", "use_reasoning": "yes"}, "use_reasoning"),
        ({"messages": []}, "messages"),
    ],
)
def test_bad_input_names_its_field(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    answer = client.post("/chat", json=body)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [field])
    assert not jobs.default().redis.keys("tandem:job:*")


def test_a_chat_of_somebody_elses_is_not_there(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one,bob:two")
    accepted = client.post("/chat", json={"message": "hi"}, headers={"Authorization": "Bearer one"})
    status = f"/chat/status/{accepted.get_json()['job_id']}"
    assert client.get(status, headers={"Authorization": "Bearer one"}).status_code == 200
    assert client.get(status, headers={"Authorization": "Bearer two"}).status_code == 404
    assert client.get(status).status_code == 401


def test_the_modes_say_whether_prompts_leave_the_house(make_client: MakeClient) -> None:
    def modes(client: FlaskClient) -> dict[str, Any]:
        return {desk.pop("mode"): desk for desk in client.get("/chat/info").get_json()["modes"]}

    client = make_client()
    submit(client)
    found = modes(client)
    assert list(found) == ["auto", "gpu", "api"]
    assert not any(desk["leaves_the_house"] for desk in found.values())
    assert [found[name]["available"] for name in found] == [True, False, True]
    assert (found["api"]["providers"], found["api"]["waiting"], found["gpu"]["waiting"]) == (["sandbox"], 1, 0)

    client = make_client(NVIDIA_API_KEY="nvapi-x")
    (limit,) = client.get("/chat/info").get_json()["limits"]
    assert (limit["provider"], limit["configured"]["requests"]) == ("nim", 30)
    fleet.default().hello(Worker(name="g1", queues="gpu", state="ready", model="tiny-chat"))
    found = modes(client)
    assert [found[name]["leaves_the_house"] for name in found] == [True, False, True]
    assert (found["gpu"]["available"], found["gpu"]["models"]) == (True, ["tiny-chat"])
    assert found["api"]["providers"] == ["nim"]


def test_every_state_has_a_shape(client: FlaskClient) -> None:
    for status in Status:
        job_id = submit(client)
        jobs.default().redis.hset(f"tandem:job:{job_id}", "status", status.value)
        if status is not Status.COMPLETED:
            assert client.get(f"/chat/status/{job_id}").get_json()["status"] == status.value
