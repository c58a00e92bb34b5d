"""Asking, listing, cancelling, erasing; and what an owner may not see."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.valkey import Valkey
from tests.web import worker
from tests.web.conftest import MakeClient

ANN, BOB = {"Authorization": "Bearer one"}, {"Authorization": "Bearer two"}


def submit(client: FlaskClient, headers: dict[str, str] | None = None, **body: Any) -> str:
    answer = client.post("/jobs", json={"prompt": "hi"} | body, headers=headers)
    assert answer.status_code == 202
    return str(answer.get_json()["id"])


def test_cancel_keeps_the_job_and_may_be_repeated(client: FlaskClient) -> None:
    job_id = submit(client)
    answers = [client.post(f"/jobs/{job_id}/cancel") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.get_json()["status"] for answer in answers] == ["cancelled"] * 2
    assert client.get(f"/jobs/{job_id}").get_json()["finished_at"]


def test_cancel_takes_a_job_out_of_a_workers_hands(client: FlaskClient) -> None:
    job_id = submit(client)
    worker.claim(job_id)
    assert client.post(f"/jobs/{job_id}/cancel").get_json()["status"] == "cancelled"


def test_cancel_leaves_a_finished_job_as_it_is(client: FlaskClient) -> None:
    job_id = submit(client)
    worker.complete(job_id)
    answer = client.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "completed")


def test_delete_erases_every_trace(client: FlaskClient, valkey: Valkey) -> None:
    job_id = submit(client)
    answer = client.delete(f"/jobs/{job_id}")
    assert (answer.status_code, answer.data, "Content-Type" in answer.headers) == (204, b"", False)
    assert client.get(f"/jobs/{job_id}").status_code == 404
    assert client.get("/jobs").get_json()["data"] == []
    assert valkey.client.zcard("tandem:due") == 0


def test_a_second_delete_is_answered_like_the_first(client: FlaskClient) -> None:
    job_id = submit(client)
    assert [client.delete(f"/jobs/{job_id}").status_code for _ in range(2)] == [204, 204]
    assert client.get(f"/jobs/{job_id}").status_code == 404


@pytest.mark.parametrize("job_id", ["job_0", "job_" + "0" * 32, "x" * 2000, "%00", "a%2Fb", "ünïcode", "..%2f.."])
def test_a_job_that_never_was_is_404(client: FlaskClient, job_id: str) -> None:
    assert client.get(f"/jobs/{job_id}").status_code == 404
    assert client.delete(f"/jobs/{job_id}").status_code == 404
    assert client.post(f"/jobs/{job_id}/cancel").status_code == 404


def test_an_owner_sees_only_their_own_jobs(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one,bob:two")
    job_id = submit(client, ANN)
    assert client.get(f"/jobs/{job_id}", headers=BOB).status_code == 404
    assert client.post(f"/jobs/{job_id}/cancel", headers=BOB).status_code == 404
    assert client.delete(f"/jobs/{job_id}", headers=BOB).status_code == 404
    assert client.get("/jobs", headers=BOB).get_json()["data"] == []
    assert client.get(f"/jobs/{job_id}", headers=ANN).get_json()["status"] == "pending"


def test_ids_cannot_be_guessed_from_others(client: FlaskClient) -> None:
    ids = [submit(client).removeprefix("job_") for _ in range(50)]
    assert len(set(ids)) == 50
    # 128 random bits: no position is the same in all of them, as a clock's or a counter's would be.
    assert all(len(set(column)) > 1 for column in zip(*ids, strict=True))


def test_paging_shows_every_job_once_newest_first(client: FlaskClient) -> None:
    made = [submit(client) for _ in range(7)]
    seen: list[str] = []
    page: dict[str, Any] = {"has_more": True, "last_id": None}
    while page["has_more"]:
        after = f"&after={page['last_id']}" if page["last_id"] else ""
        page = client.get(f"/jobs?limit=3{after}").get_json()
        ids = [job["id"] for job in page["data"]]
        assert (page["object"], page["first_id"], page["last_id"]) == ("list", ids[0], ids[-1])
        seen += ids
    assert sorted(seen) == sorted(made)


def test_an_empty_list_has_no_ends(client: FlaskClient) -> None:
    empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert client.get("/jobs").get_json() == empty


def test_the_list_is_filtered_by_status_and_model(client: FlaskClient) -> None:
    plain, named = submit(client), submit(client, model="sandbox/echo")
    client.post(f"/jobs/{plain}/cancel")
    assert [job["id"] for job in client.get("/jobs?status=cancelled").get_json()["data"]] == [plain]
    assert [job["id"] for job in client.get("/jobs?model=sandbox/echo").get_json()["data"]] == [named]
    assert client.get("/jobs?status=failed").get_json()["data"] == []


def test_a_page_behind_an_erased_job_is_refused(client: FlaskClient) -> None:
    gone = submit(client)
    client.delete(f"/jobs/{gone}")
    refused = client.get(f"/jobs?after={gone}")
    assert refused.status_code == 404
    assert "after" in refused.get_json()["errors"]
