"""Bodies of batches, as clients and strangers send them: taken, or refused with what is wrong; nothing stays behind."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.valkey import Valkey
from tests.web.conftest import MakeClient

ITEM = {"custom_id": "a", "prompt": "hi"}
LINE = json.dumps(ITEM).encode()
JSON, LINES = "application/json", "application/x-ndjson"


def zipped() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("items.jsonl", LINE)
    return held.getvalue()


def form(body: bytes, **options: str) -> dict[str, Any]:
    return {"data": {"file": (io.BytesIO(body), "items.jsonl"), **options}, "content_type": "multipart/form-data"}


def post(client: FlaskClient, body: bytes, kind: str = JSON, **query: str) -> Any:
    return client.post("/batches", data=body, content_type=kind, query_string=query)


def kept(valkey: Valkey) -> list[object]:
    return [key for key in valkey.client.keys("tandem:*") if "batch" in str(key) or "step_" in str(key)]


REFUSED: dict[str, tuple[bytes, str, int, str]] = {
    "nothing": (b"", JSON, 400, ""),
    "no lines": (b"", LINES, 422, "items"),
    "blank lines": (b"\n\r\n \n", LINES, 422, "items"),
    "no items": (b'{"items": []}', JSON, 422, "items"),
    "items left out": (b"{}", JSON, 422, "items"),
    "items that are no list": (b'{"items": {"a": 1}}', JSON, 422, "items"),
    "a list": (b"[]", JSON, 422, ""),
    "a word": (b'"items"', JSON, 422, ""),
    "cut off in an item": (b'{"items": [{"custom_id": "a", "pro', JSON, 400, ""),
    "cut off behind an item": (b'{"items": [%s' % LINE, JSON, 400, ""),
    "cut off before the end": (b'{"items": [%s]' % LINE, JSON, 400, ""),
    "something behind it": (b'{"items": [%s]} {}' % LINE, JSON, 400, ""),
    "items twice": (b'{"items": [%s], "items": [%s]}' % (LINE, LINE), JSON, 422, "items"),
    "items twice, none at first": (b'{"items": [], "items": [%s]}' % LINE, JSON, 422, "items"),
    "an option twice": (b'{"on_invalid": "skip", "on_invalid": "skip", "items": []}', JSON, 422, "on_invalid"),
    "a nested bomb": (b'{"items": [' + b"[" * 100_000, JSON, 400, ""),
    "objects in objects": (b'{"items": [' + b'{"a":' * 100_000, JSON, 413, ""),
    "an unknown option": (b'{"items": [%s], "colour": 1}' % LINE, JSON, 422, "colour"),
    "more options than there are": (
        json.dumps({"items": [ITEM], **{f"k{n}": 0 for n in range(100)}}).encode(), JSON, 422, "k39"),
    "options that are too long": (
        b'{"items": [%s], "a": "%s", "b": "%s"}' % (LINE, b"x" * 6000, b"x" * 6000), JSON, 413, ""),
    "an option out of range": (b'{"items": [%s], "on_item_failure": {"threshold": 2}}' % LINE, JSON, 422,
                               "on_item_failure"),
    "a default of the batch's": (b'{"items": [%s], "defaults": {"expires_in_s": 1}}' % LINE, JSON, 422,
                                 "defaults.expires_in_s"),
    "a default that no item has": (b'{"items": [%s], "defaults": {"modl": "m"}}' % LINE, JSON, 422, "defaults.modl"),
    "a default that cannot be": (b'{"items": [%s], "defaults": {"mode": "gpuu"}}' % LINE, JSON, 422, "defaults.mode"),
    "a default out of range": (b'{"items": [%s], "defaults": {"max_tokens": 0}}' % LINE, JSON, 422,
                               "defaults.max_tokens"),
    "a message that cannot be as a default": (b'{"items": [%s], "defaults": {"messages": [{"role": "x"}]}}' % LINE,
                                              JSON, 422, "defaults.messages.0.role"),
    "results of the gpu for a hosted provider": (
        b'{"items": [%s], "defaults": {"mode": "gpu"}, "on_complete": {"prompt": "x", "mode": "api"}}' % LINE,
        JSON, 422, "on_complete.mode"),
    "the same by the batch's mode": (
        b'{"items": [%s], "mode": "gpu", "on_complete": {"prompt": "x", "mode": "api"}}' % LINE,
        JSON, 422, "on_complete.mode"),
    "half a character in a default": (b'{"items": [%s], "defaults": {"model": "\\ud800"}}' % LINE, JSON, 422,
                                      "defaults.model"),
    "half a character in a default's name": (b'{"items": [%s], "defaults": {"\\ud800": 1}}' % LINE, JSON, 422,
                                             "defaults.\\ud800"),
    "NUL in a template": (b'{"items": [%s], "on_complete": {"prompt": "\\u0000"}}' % LINE, JSON, 422,
                          "on_complete.prompt"),
    "half a character in a template": (b'{"items": [%s], "on_complete": {"prompt": "\\ud800"}}' % LINE, JSON, 422,
                                       "on_complete.prompt"),
    "half a character in an option's name": (b'{"items": [%s], "\\ud800": 1}' % LINE, JSON, 422, "\\ud800"),
    "two modes": (b'{"items": [%s], "mode": "api", "defaults": {"mode": "gpu"}}' % LINE, JSON, 422, "mode"),
    "JSON in another charset": (b'{"items": [%s]}' % LINE, JSON + "; charset=latin-1", 415, ""),
    "lines in another charset": (LINE, LINES + "; charset=latin-1", 415, ""),
    "JSON in UTF-16": (json.dumps({"items": [ITEM]}).encode("utf-16"), JSON, 400, ""),
    "a key that is no text": (b'{1: 2}', JSON, 400, ""),
    "a key that is a list": (b'{["items"]: []}', JSON, 400, ""),
    "a comma too many": (b'{"items": [%s,]}' % LINE, JSON, 400, ""),
    "a comma too few": (b'{"items": [%s %s]}' % (LINE, LINE), JSON, 400, ""),
    "brackets that do not match": (b'{"items": [%s}]' % LINE, JSON, 400, ""),
    "a bracket of another kind in an item": (b'{"items": [{"custom_id": "a", "prompt": "x"]]}', JSON, 400, ""),
    "brackets that cross": (b'{"items": [{"custom_id": "a", "tools": [{]}}]}', JSON, 400, ""),
    "an option that is no JSON": (b'{"on_invalid": skip, "items": []}', JSON, 400, ""),
    "too many items": (LINE + b"\n" + (LINE + b"\n") * 50, LINES, 413, "items"),
    "too many bytes": (b'{"custom_id": "%s"}\n' % (b"a" * 9_000) * 40, LINES, 413, "items"),
    "one item that never ends": (b'{"items": [{"prompt": "' + b"a" * 3_000_000, JSON, 413, ""),
    "a zip": (zipped(), "application/zip", 415, ""),
    "plain text": (LINE, "text/plain", 415, ""),
    "a form without a boundary": (LINE, "multipart/form-data", 400, ""),
    "a form cut off": (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + LINE,
                       "multipart/form-data; boundary=x", 400, ""),
    "a form that never begins": (b"x" * 1_000_000, "multipart/form-data; boundary=x", 413, ""),
    "a form of headers without an end": (b"--x\r\n" + b"a: b\r\n" * 200_000, "multipart/form-data; boundary=x", 413,
                                         ""),
    "a form without a file": (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
                              "multipart/form-data; boundary=x", 422, "file"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "status", "field"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_taken_leaves_nothing(
    make_client: MakeClient, valkey: Valkey, body: bytes, kind: str, status: int, field: str
) -> None:
    limits = {"TANDEM_BATCH_ITEMS": "50", "TANDEM_BATCH_BYTES": "300000", "TANDEM_MAX_BODY_BYTES": "10000"}
    answer = post(make_client(**limits), body, kind)
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.content_type == "application/problem+json"
    assert list(answer.get_json().get("errors", {})) == ([field] if field else [])
    assert kept(valkey) == []


def test_options_that_do_not_fit_their_items_leave_nothing(client: FlaskClient, valkey: Valkey) -> None:
    assert post(client, LINE, LINES, on_invalid="perhaps").status_code == 422
    assert post(client, LINE, LINES, max_attempts="0").status_code == 422
    assert client.post("/batches?mode=gpu", json={"items": [ITEM]}).status_code == 422
    assert kept(valkey) == []


def test_a_mode_that_is_said_twice_leaves_nothing(client: FlaskClient, valkey: Valkey) -> None:
    answer = client.post("/batches?mode=gpu&mode=api", data=LINE, content_type=LINES)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["mode"])
    assert kept(valkey) == []


def test_defaults_need_not_be_a_whole_job(client: FlaskClient) -> None:
    given = {"model": "sandbox/echo", "max_tokens": 5, "kind": "chat", "tool_choice": "auto", "metadata": {"a": "b"}}
    for defaults in (given, {}, {"prompt": "x"}, {"input_type": "query"}):
        body = {"items": [ITEM], "defaults": defaults, "on_complete": {"prompt": "x", "mode": "auto"}}
        assert client.post("/batches", json=body).status_code == 202, defaults


def test_the_same_mode_may_stand_in_both_places(client: FlaskClient) -> None:
    answer = client.post("/batches", json={"items": [ITEM], "mode": "api", "defaults": {"mode": "api"}})
    assert answer.status_code == 202


def test_a_key_in_a_query_or_a_form_is_a_text(client: FlaskClient) -> None:
    in_query = post(client, LINE, LINES, idempotency_key="12345")
    in_form = client.post("/batches", **form(LINE, idempotency_key="12345"))
    in_json = client.post("/batches", json={"items": [ITEM], "idempotency_key": "12345"})
    assert [one.status_code for one in (in_query, in_form, in_json)] == [202, 202, 202]
    assert in_query.get_json()["id"] == in_form.get_json()["id"] == in_json.get_json()["id"]


def test_the_line_that_is_too_many_is_told(make_client: MakeClient) -> None:
    answer = post(make_client(TANDEM_BATCH_ITEMS="2"), (LINE + b"\n\n") * 3, LINES)
    assert answer.get_json()["errors"] == {"items": ["line 5: a batch has 2 items at the most"]}


def test_a_byte_order_mark_is_told_of(client: FlaskClient) -> None:
    answer = post(client, b"\xef\xbb\xbf" + b'{"items": [%s]}' % LINE)
    assert (answer.status_code, "byte order mark" in answer.get_json()["detail"]) == (400, True)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_lines_a_form_and_json_are_the_same_batch(client: FlaskClient, valkey: Valkey, end: bytes) -> None:
    lines = post(client, LINE + b"\n" + LINE + end, LINES, on_invalid="skip", metadata='{"a": "b"}')
    as_form = client.post("/batches", **form(LINE + b"\n" + LINE + end, on_invalid="skip", metadata='{"a": "b"}'))
    as_json = client.post("/batches", json={"items": [ITEM, ITEM], "on_invalid": "skip", "metadata": {"a": "b"}})
    for answer in (lines, as_form, as_json):
        assert answer.status_code == 202, answer.get_data(as_text=True)
        said = answer.get_json()
        assert (said["status"], said["total"], said["metadata"]) == ("validating", 2, {"a": "b"})
        held = valkey.client.lrange(f"tandem:batch:{said['id']}:chunk:0", 0, -1)
        assert [json.loads(str(line).split(" ", 1)[1]) for line in held] == [ITEM, ITEM]


def test_a_line_that_cannot_be_kept_is_told_by_its_number(client: FlaskClient, valkey: Valkey) -> None:
    said = post(client, b"\n".join([LINE, b"", b"\xff\xfe", b"not json", LINE]), LINES).get_json()
    held = [str(line) for line in valkey.client.lrange(f"tandem:batch:{said['id']}:chunk:0", 0, -1)]
    assert [line.split(" ")[0] for line in held] == ["1", "3", "4", "5"]
    assert held[1] == "3 \0not UTF-8 at byte 0"


def test_an_honest_image_of_six_megabytes_is_taken_in_a_moment(client: FlaskClient) -> None:
    url = "data:image/png;base64," + "QUJD" * 2_000_000
    turn = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    body = json.dumps({"items": [{"custom_id": "a", "messages": [turn]}]}).encode()
    tracemalloc.start()
    try:
        began = time.process_time()
        answer = post(client, body)
        seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code == 202, answer.get_data(as_text=True)
    # It took 19 seconds and 968 MB: the text was looked at from its beginning for each piece of it that came.
    assert seconds < 5
    assert peak < 8 * len(body)


def test_a_large_batch_is_never_whole_in_memory(client: FlaskClient, tmp_path: Path) -> None:
    line = json.dumps({"custom_id": "a", "prompt": "x" * 4000}).encode() + b"\n"
    (tmp_path / "items.jsonl").write_bytes(line * 10_000)
    tracemalloc.start()
    try:
        with (tmp_path / "items.jsonl").open("rb") as body:
            answer = client.post("/batches", input_stream=body, content_type=LINES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code == 202, answer.get_data(as_text=True)
    assert answer.get_json()["total"] == 10_000
    assert peak < 15_000_000  # of 41 MB
