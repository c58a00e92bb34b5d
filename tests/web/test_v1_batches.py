"""`/v1/batches` where it says no, and what it leaves behind then."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.valkey import Valkey
from tests.web.conftest import MakeClient
from tests.web.test_v1_files import upload

LINE = (
    b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", '
    b'"body": {"messages": [{"role": "user", "content": "hi"}]}}\n'
)


def create(client: FlaskClient, file_id: str, **more: Any) -> Any:
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
    return client.post("/v1/batches", json={name: value for name, value in body.items() if value is not ...})


def kept(valkey: Valkey) -> list[object]:
    return [key for key in valkey.client.keys("tandem:*") if "batch" in str(key) or "step_" in str(key)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no file": ({"input_file_id": ...}, "input_file_id"),
    "no endpoint": ({"endpoint": ...}, "endpoint"),
    "another endpoint": ({"endpoint": "/v1/responses"}, "endpoint"),
    "no window": ({"completion_window": ...}, "completion_window"),
    "a window that is too long": ({"completion_window": "5d"}, "completion_window"),
    "a window that is none": ({"completion_window": "24h\n"}, "completion_window"),
    "metadata that is none": ({"metadata": {"a": 1}}, "metadata.a"),
    "an expiry that is too short": ({"output_expires_after": {"anchor": "created_at", "seconds": 5}},
                                    "output_expires_after.seconds"),
    "an unknown field": ({"colour": 1}, "colour"),
}  # fmt: skip


@pytest.mark.parametrize(("more", "param"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_made_is_refused_by_name(
    client: FlaskClient, valkey: Valkey, more: dict[str, Any], param: str
) -> None:
    answer = create(client, upload(client, LINE).get_json()["id"], **more)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, param)
    assert kept(valkey) == []


@pytest.mark.parametrize("body", [b"", b"\n\r\n \n"])
def test_an_empty_file_makes_no_batch(client: FlaskClient, valkey: Valkey, body: bytes) -> None:
    answer = create(client, upload(client, body).get_json()["id"])
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "input_file_id")
    assert kept(valkey) == []


def test_too_many_requests_leave_nothing(make_client: MakeClient, valkey: Valkey) -> None:
    client = make_client(TANDEM_BATCH_ITEMS="250")
    answer = create(client, upload(client, LINE * 251).get_json()["id"])
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (413, "batch_too_large", "input_file_id")
    assert error["message"].startswith("line 251: ")
    assert kept(valkey) == []


def test_a_batch_has_every_field(client: FlaskClient) -> None:
    file_id = upload(client, LINE * 3).get_json()["id"]
    said = create(client, file_id, metadata={"a": "b"}).get_json()
    for name in ("id", "created_at"):
        assert said.pop(name)
    assert said.pop("expires_at")
    assert said == {
        "object": "batch", "endpoint": "/v1/chat/completions", "errors": None, "input_file_id": file_id,
        "completion_window": "24h", "status": "validating", "output_file_id": None, "error_file_id": None,
        "in_progress_at": None, "finalizing_at": None, "completed_at": None, "failed_at": None, "expired_at": None,
        "cancelling_at": None, "cancelled_at": None, "request_counts": {"total": 3, "completed": 0, "failed": 0},
        "usage": None, "metadata": {"a": "b"},
    }  # fmt: skip


def test_a_repeated_request_says_so(client: FlaskClient) -> None:
    file_id = upload(client, LINE).get_json()["id"]
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    first, second = (client.post("/v1/batches", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.get_json()["id"] == second.get_json()["id"]
    assert [one.headers.get("Idempotency-Replayed") for one in (first, second)] == [None, "true"]


@pytest.mark.parametrize(("method", "what"), [("GET", ""), ("POST", "/cancel")])
def test_a_question_that_nobody_reads_is_refused(client: FlaskClient, method: str, what: str) -> None:
    batch_id = create(client, upload(client, LINE).get_json()["id"]).get_json()["id"]
    answer = client.open(f"/v1/batches/{batch_id}{what}?mode=gpu", method=method)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "mode")


def test_a_batch_cancelled_while_it_is_read_says_so(client: FlaskClient) -> None:
    batch_id = create(client, upload(client, LINE).get_json()["id"]).get_json()["id"]
    said = client.post(f"/v1/batches/{batch_id}/cancel").get_json()
    assert (said["status"], said["cancelling_at"] >= said["created_at"]) == ("cancelling", True)


def test_a_batch_of_our_own_form_is_not_there(client: FlaskClient) -> None:
    ours = client.post("/batches", json={"items": [{"custom_id": "a", "prompt": "b"}]}).get_json()["id"]
    for answer in (client.get(f"/v1/batches/{ours}"), client.post(f"/v1/batches/{ours}/cancel")):
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "batch_not_found")
    assert client.get("/v1/batches").get_json() == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip
    assert client.get("/v1/nothing").get_json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("file_id", ["file-none", "", "x" * 100, "file-0000000000000-00000000000000000000000000000000"])
def test_a_file_that_is_not_there_is_told_by_the_field_that_names_it(client: FlaskClient, file_id: str) -> None:
    answer = create(client, file_id)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (404 if file_id else 400, "input_file_id")


def test_somebody_elses_file_is_not_there(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one,bob:two")
    theirs = upload(client, LINE).get_json()["id"]  # ann's
    body = {"input_file_id": theirs, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    answer = client.post("/v1/batches", json=body, headers={"Authorization": "Bearer two"})
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (404, "input_file_id")
