"""`/v1/files` as strangers and owners use it: taken, refused in OpenAI's words, and nothing stays behind."""

from __future__ import annotations

import io
import socket
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.polling import until
from tests.web.conftest import MakeClient
from tests.web.gunicorn import Gunicorn

FORM = "multipart/form-data; boundary=x"


def part(name: str, body: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + body + b"\r\n"


FILE, PURPOSE, END = part("file", b"{}\n", "a.jsonl"), part("purpose", b"batch"), b"--x--\r\n"


def upload(client: FlaskClient, body: bytes = b"{}\n", **fields: Any) -> Any:
    data = {"purpose": "batch", **fields, "file": (io.BytesIO(body), "in.jsonl")}
    return client.post("/v1/files", data=data, headers={"Authorization": "Bearer one"})


def held(data: Path) -> list[Path]:
    return [one for one in (data / "files").rglob("*") if one.is_file() and one.name != ".swept"]


REFUSED: dict[str, tuple[bytes, str, int, str | None]] = {
    "nothing": (b"", FORM, 400, "file"),
    "JSON": (b"{}", "application/json", 415, None),
    "no boundary": (FILE + PURPOSE + END, "multipart/form-data", 400, None),
    "no file": (PURPOSE + END, FORM, 400, "file"),
    "two files": (FILE + FILE + PURPOSE + END, FORM, 400, "file"),
    "no purpose": (FILE + END, FORM, 400, "purpose"),
    "another purpose": (FILE + part("purpose", b"assistants") + END, FORM, 400, "purpose"),
    "a purpose that is ours to give": (FILE + part("purpose", b"batch_output") + END, FORM, 400, "purpose"),
    "a purpose that is no text": (FILE + part("purpose", b"\xff") + END, FORM, 400, None),
    "an unknown field": (FILE + PURPOSE + part("colour", b"1") + END, FORM, 400, "colour"),
    "too short a life": (FILE + PURPOSE + part("expires_after[seconds]", b"1") + END, FORM, 400,
                         "expires_after[seconds]"),
    "cut off in the file": (FILE[:-5], FORM, 400, None),
    "cut off behind it": (FILE + PURPOSE, FORM, 400, None),
    "too many bytes": (part("file", b"a" * 2_000, "a") + PURPOSE + END, FORM, 413, "file"),
    "far too many bytes": (part("file", b"a" * 3_000_000, "a") + PURPOSE + END, FORM, 413, None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "status", "param"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_taken_leaves_nothing(
    make_client: MakeClient, tmp_path: Path, body: bytes, kind: str, status: int, param: str | None
) -> None:
    client = make_client(TANDEM_BATCH_BYTES="1000")
    answer = client.post("/v1/files", data=body, content_type=kind)
    assert (answer.status_code, answer.content_type) == (status, "application/json")
    error = answer.get_json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert held(tmp_path / "data") == []
    assert list((tmp_path / "data" / "files" / ".drafts").glob("*")) == []


def test_a_file_comes_back_as_it_went(client: FlaskClient) -> None:
    body = bytes(range(256)) * 5000
    said = upload(client, body).get_json()
    assert (said["object"], said["bytes"], said["purpose"], said["status"]) == ("file", len(body), "batch", "processed")
    assert said["expires_at"] == said["created_at"] + 30 * 24 * 3600
    assert client.get(f"/v1/files/{said['id']}").get_json() == said
    answer = client.get(f"/v1/files/{said['id']}/content")
    assert (answer.get_data(), answer.headers["Content-Length"]) == (body, str(len(body)))


def test_a_file_lives_as_long_as_it_was_told_and_no_longer_than_it_may(make_client: MakeClient) -> None:
    client = make_client(TANDEM_FILE_TTL_S="7200")
    for asked, given in (("3600", 3600), ("2592000", 7200)):
        more: dict[str, Any] = {"expires_after[anchor]": "created_at", "expires_after[seconds]": asked}
        said = upload(client, **more).get_json()
        assert said["expires_at"] - said["created_at"] in (given, given + 1)


def test_an_expired_file_is_gone_from_sight_and_from_the_disk(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(TANDEM_FILE_TTL_S="1")
    file_id = upload(client).get_json()["id"]
    until(lambda: client.get(f"/v1/files/{file_id}").status_code == 404, within_s=5)
    assert client.get("/v1/files").get_json()["data"] == []
    assert held(tmp_path / "data") == []


def test_an_owner_sees_nothing_of_anothers(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one,bob:two")
    file_id, bob = upload(client).get_json()["id"], {"Authorization": "Bearer two"}
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert client.get("/v1/files", headers=bob).get_json()["data"] == []
    for answer in (
        client.get(f"/v1/files/{file_id}", headers=bob),
        client.get(f"/v1/files/{file_id}/content", headers=bob),
        client.delete(f"/v1/files/{file_id}", headers=bob),
        client.post("/v1/batches", json=body, headers=bob),
    ):
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "file_not_found")
    assert client.get(f"/v1/files/{file_id}", headers={"Authorization": "Bearer one"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/v1/files/file-x/content"), ("GET", "/v1/batches/batch_x")],
)
def test_without_a_key_nothing_is_told(make_client: MakeClient, method: str, path: str) -> None:
    answer = make_client(TANDEM_API_KEYS="ann:one").open(path, method=method)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "name", ["file-x", "..", "file-" + "0" * 46, "file-" + "0" * 46 + "-output1", "%2e%2e%2fx", "a" * 300]
)
def test_a_file_that_is_not_there(client: FlaskClient, name: str) -> None:
    for answer in (client.get(f"/v1/files/{name}/content"), client.delete(f"/v1/files/{name}")):
        assert (answer.status_code, answer.get_json()["error"]["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "order=up", "purpose=assistants", "colour=1"])
def test_a_question_that_makes_no_sense_is_refused_by_name(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/v1/files?{query}")
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_walk_over_the_pages_sees_each_file_once_even_while_they_are_deleted(client: FlaskClient, order: str) -> None:
    made = [upload(client).get_json()["id"] for _ in range(5)]
    walked, has_more, after = list[str](), True, ""
    while has_more:
        page = client.get(f"/v1/files?limit=2&order={order}{after}").get_json()
        walked += [one["id"] for one in page["data"]]
        has_more, after = page["has_more"], f"&after={page['last_id']}"
        assert client.delete(f"/v1/files/{page['last_id']}").get_json()["deleted"] is True
    assert walked == (made if order == "asc" else made[::-1])


def test_a_disk_that_is_nearly_full_takes_nothing_more(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(TANDEM_FILE_LEAVE_BYTES=str(2**60))
    answer = upload(client)
    assert (answer.status_code, answer.get_json()["error"]["type"]) == (503, "server_error")
    assert int(answer.headers["Retry-After"]) > 0
    assert held(tmp_path / "data") == []


def test_a_large_file_is_never_whole_in_memory(client: FlaskClient, tmp_path: Path) -> None:
    with (tmp_path / "body").open("wb") as body:
        body.write(part("file", b"", "large")[:-2])
        for _ in range(40):
            body.write(b"a" * 1_000_000)
        body.write(b"\r\n" + PURPOSE + END)
    tracemalloc.start()
    try:
        with (tmp_path / "body").open("rb") as sent:
            said = client.post("/v1/files", input_stream=sent, content_type=FORM).get_json()
        for _ in client.get(f"/v1/files/{said['id']}/content").iter_encoded():
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said["bytes"] == 40_000_000
    assert peak < 10_000_000


def test_an_upload_that_breaks_off_leaves_nothing(gunicorn: Gunicorn, environment: dict[str, str]) -> None:
    files = Path(environment["TANDEM_DATA"]) / "files"
    host, port = gunicorn.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        said = f"Host: localhost\r\nContent-Type: {FORM}\r\nContent-Length: 5000000"
        head = f"POST /v1/files HTTP/1.1\r\n{said}\r\n\r\n".encode()
        client.sendall(head + part("file", b"a" * 1_000_000, "a"))
        until(lambda: any((files / ".drafts").glob("*/content")), within_s=10)
    until(lambda: not any((files / ".drafts").glob("*")), within_s=10, what="the draft being gone")
    assert held(files.parent) == []


def test_a_page_behind_what_never_was_a_file_is_refused(client: FlaskClient) -> None:
    answer = client.get("/v1/files?after=file-nope")
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (404, "after")


def test_a_walk_goes_on_behind_a_file_that_was_deleted(client: FlaskClient) -> None:
    older, newer = (upload(client).get_json()["id"] for _ in range(2))
    client.delete(f"/v1/files/{newer}")
    assert [one["id"] for one in client.get(f"/v1/files?after={newer}").get_json()["data"]] == [older]
