"""What was accepted is answered with 202, whatever happens before the answer is out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from tests.support.polling import until
from tests.support.relay import Relay
from tests.support.valkey import Valkey
from tests.web.conftest import MakeClient
from tests.web.gunicorn import Gunicorn
from tests.web.test_v1_batches import LINE as OPENAI_LINE
from tests.web.test_v1_batches import create
from tests.web.test_v1_files import upload

MARK = "mark-7c1d"
MARKED = {"metadata": {"mark": MARK}}
ITEMS = {"items": [{"custom_id": "a", "prompt": "hi"}]}


@pytest.mark.parametrize("shared", [False, True])
def test_redis_goes_away_right_after_a_job_was_accepted(make_client: MakeClient, valkey: Valkey, shared: bool) -> None:
    body = {"prompt": "hi", "temperature": 0 if shared else 1, "model": "sandbox/echo"}
    leader = make_client().post("/jobs", json=body).get_json()["id"]
    with Relay(valkey.port).end_after(MARK) as way:
        client = make_client(REDIS_URL=way.url)
        answer = client.post("/jobs", json=body | MARKED, headers={"Prefer": "wait=10"})
        assert way.broken.is_set()
    assert answer.status_code == 202, answer.get_json()
    job = answer.get_json()
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert (job["status"], job["metadata"], "Preference-Applied" in answer.headers) == (
        "pending",
        {"mark": MARK},
        False,
    )
    kept = make_client(REDIS_URL=valkey.url).get(answer.headers["Location"]).get_json()
    assert (kept["status"], kept["coalesced_with"]) == ("pending", leader if shared else None)


def test_redis_goes_away_right_after_a_batch_was_accepted(make_client: MakeClient, valkey: Valkey) -> None:
    with Relay(valkey.port).end_after(MARK) as way:
        answer = make_client(REDIS_URL=way.url).post("/batches", json=ITEMS | MARKED)
        assert way.broken.is_set()
    assert answer.status_code == 202, answer.get_json()
    told = answer.get_json()
    assert answer.headers["Location"] == f"/batches/{told['id']}"
    kept = make_client(REDIS_URL=valkey.url).get(answer.headers["Location"]).get_json()
    assert timeless(told) == timeless(kept)


def timeless(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in ("created_at", "expires_at")}


def test_redis_goes_away_right_after_a_batch_of_a_file_was_accepted(make_client: MakeClient, valkey: Valkey) -> None:
    with Relay(valkey.port).end_after(MARK) as way:
        client = make_client(REDIS_URL=way.url)
        answer = create(client, upload(client, OPENAI_LINE).get_json()["id"], **MARKED)
        assert way.broken.is_set()
    told = answer.get_json()
    assert (answer.status_code, told["status"], told["metadata"]) == (200, "validating", {"mark": MARK})
    assert make_client(REDIS_URL=valkey.url).get(f"/v1/batches/{told['id']}").status_code == 200


def test_a_job_that_is_erased_while_its_client_waits_was_accepted(gunicorn: Gunicorn) -> None:
    def listed() -> list[str]:
        return [job["id"] for job in requests.get(f"{gunicorn.url}/jobs", timeout=5).json()["data"]]

    with ThreadPoolExecutor(1) as pool:
        headers = {"Prefer": "wait=30"}
        waiting = pool.submit(requests.post, f"{gunicorn.url}/jobs", json={"prompt": "hi"}, headers=headers, timeout=40)
        [job_id] = until(listed, within_s=10)
        assert requests.delete(f"{gunicorn.url}/jobs/{job_id}", timeout=5).status_code == 204
        answer = waiting.result(10)
    assert (answer.status_code, answer.json()["id"], "Preference-Applied" in answer.headers) == (202, job_id, False)


def test_a_job_that_is_erased_while_somebody_asks_after_it_is_404(client: FlaskClient) -> None:
    job_id = client.post("/jobs", json={"prompt": "hi"}).get_json()["id"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.application.test_client().get, f"/jobs/{job_id}", headers={"Prefer": "wait=30"})
        assert client.delete(f"/jobs/{job_id}").status_code == 204
        assert waiting.result(10).status_code == 404
