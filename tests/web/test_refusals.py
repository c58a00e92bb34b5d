"""Bad input: each row gives its status and names its field, and leaves nothing behind."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.valkey import Valkey
from tests.web.conftest import MakeClient

OK = {"messages": [{"role": "user", "content": "hi"}]}


def chat(**more: Any) -> str:
    return json.dumps(OK | more)


def turns(*messages: Any) -> str:
    return json.dumps({"messages": list(messages)})


ROWS: list[tuple[str, str | bytes, int, str | None]] = [
    # what is wrong with it, the body, the status, the field that `errors` names
    ("no body", "", 400, None),
    ("half an object", '{"prompt":', 400, None),
    ("single quotes", "{'prompt': 'hi'}", 400, None),
    ("trailing comma", '{"prompt": "hi",}', 400, None),
    ("two values", '{"prompt": "hi"} {}', 400, None),
    ("not UTF-8", b'{"prompt": "\xff"}', 400, None),
    ("UTF-16", '{"prompt": "hi"}'.encode("utf-16"), 400, None),
    ("a raw control character", b'{"prompt": "a\x00b"}', 400, None),
    ("100,000 brackets", "[" * 100_000, 422, None),
    ("100,000 objects", '{"a":' * 100_000, 422, None),
    ("a number of 5,000 digits", '{"prompt": "hi", "seed": ' + "9" * 5000 + "}", 400, None),
    ("a list", "[]", 422, ""),
    ("null", "null", 422, ""),
    ("a string", '"hi"', 422, ""),
    ("nothing asked", "{}", 422, "messages"),
    ("prompt and messages", chat(prompt="hi"), 422, "prompt"),
    ("a key given twice", '{"prompt": "a", "prompt": "b"}', 422, "prompt"),
    ("a key given twice, deeper", '{"messages": [{"role": "user", "content": "a", "content": "b"}]}', 422, "content"),
    ("an unknown field", chat(promt="hi"), 422, "promt"),
    ("an unknown field in a message", turns({"role": "user", "content": "a", "name": "b"}), 422, "messages.0.name"),
    ("NaN", '{"prompt": "hi", "temperature": NaN}', 422, None),
    ("Infinity", '{"prompt": "hi", "temperature": -Infinity}', 422, None),
    ("a number that overflows", '{"prompt": "hi", "temperature": 1e999}', 422, "temperature"),
    ("an empty prompt", '{"prompt": ""}', 422, "prompt"),
    ("a prompt that is null", '{"prompt": null}', 422, "prompt"),
    ("a prompt that is a number", '{"prompt": 5}', 422, "prompt"),
    ("a prompt with NUL", '{"prompt": "a\\u0000b"}', 422, "prompt"),
    ("a prompt with half a character", '{"prompt": "a\\ud83d"}', 422, "prompt"),
    ("no messages", turns(), 422, "messages"),
    ("messages that are an object", '{"messages": {"role": "user", "content": "hi"}}', 422, "messages"),
    ("too many messages", '{"messages": [' + "1," * 10_000 + "1]}", 422, "messages"),
    ("a message that is text", turns("hi"), 422, "messages.0"),
    ("a message that is null", turns(None), 422, "messages.0"),
    ("an unknown role", turns({"role": "wizard", "content": "hi"}), 422, "messages.0.role"),
    ("a role that is a list", turns({"role": [], "content": "hi"}), 422, "messages.0.role"),
    ("no content", turns(OK["messages"][0], {"role": "user"}), 422, "messages.1.content"),
    ("a part that is none", turns({"role": "user", "content": ["hi"]}), 422, "messages.0.content.0.type"),
    ("content with NUL", turns({"role": "user", "content": "\0"}), 422, "messages.0.content"),
    ("content with half a character", turns({"role": "user", "content": "\udfff"}), 422, "messages.0.content"),
    ("an unknown kind", chat(kind="poem"), 422, "kind"),
    ("an unknown mode", chat(mode="tpu"), 422, "mode"),
    ("a mode that is a list", chat(mode=["gpu"]), 422, "mode"),
    ("a model that is a number", chat(model=4), 422, "model"),
    ("a model without a name", chat(model=""), 422, "model"),
    ("a model's name of 201", chat(model="m" * 201), 422, "model"),
    ("no tokens", chat(max_tokens=0), 422, "max_tokens"),
    ("tokens by bool", chat(max_tokens=True), 422, "max_tokens"),
    ("tokens by text", chat(max_tokens="5"), 422, "max_tokens"),
    ("half a token", chat(max_tokens=1.5), 422, "max_tokens"),
    ("tokens beyond 32 bits", chat(max_tokens=2**31), 422, "max_tokens"),
    ("too hot", chat(temperature=2.1), 422, "temperature"),
    ("too cold", chat(temperature=-0.1), 422, "temperature"),
    ("temperature by bool", chat(temperature=False), 422, "temperature"),
    ("temperature by text", chat(temperature="1"), 422, "temperature"),
    ("top_p 0", chat(top_p=0), 422, "top_p"),
    ("top_p over 1", chat(top_p=1.01), 422, "top_p"),
    ("stop by number", chat(stop=1), 422, "stop"),
    ("an empty stop", chat(stop=""), 422, "stop"),
    ("five stops", chat(stop=list("abcde")), 422, "stop"),
    ("a stop that is null", chat(stop=["a", None]), 422, "stop.1"),
    ("a seed by bool", chat(seed=True), 422, "seed"),
    ("a seed beyond 64 bits", chat(seed=2**63), 422, "seed"),
    ("an empty key", chat(idempotency_key=""), 422, "idempotency_key"),
    ("a key of 256", chat(idempotency_key="k" * 256), 422, "idempotency_key"),
    ("expired at once", chat(expires_in_s=0), 422, "expires_in_s"),
    ("expires after more than a week", chat(expires_in_s=7 * 24 * 3600 + 1), 422, "expires_in_s"),
    ("metadata that is a list", chat(metadata=[]), 422, "metadata"),
    ("seventeen pairs", chat(metadata={str(n): "x" for n in range(17)}), 422, "metadata"),
    ("metadata of numbers", chat(metadata={"a": 1}), 422, "metadata.a"),
    ("metadata nested", chat(metadata={"a": {"b": "c"}}), 422, "metadata.a"),
    ("a long value", chat(metadata={"a": "x" * 513}), 422, "metadata.a"),
    ("a long name", chat(metadata={"x" * 65: "a"}), 422, "metadata." + "x" * 65),
]


@pytest.mark.parametrize(("body", "status", "field"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_bad_input_is_refused(
    client: FlaskClient, valkey: Valkey, body: str | bytes, status: int, field: str | None
) -> None:
    answer = client.post("/jobs", data=body, content_type="application/json")
    assert_problem(answer.get_json(), status)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert field is None or field in answer.get_json()["errors"]
    assert len(answer.data) < 10_000
    assert valkey.client.dbsize() == 0


def assert_problem(body: dict[str, Any], status: int) -> None:
    assert body["status"] == status
    assert body["type"] and body["title"] and body["detail"]
    assert body["instance"].startswith("/")


@pytest.mark.parametrize(
    "content_type",
    [
        None, "", "text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx",
        "application/json; charset=latin-1", 'application/json;charset="ISO-8859-1"',
        "application/json; charset=utf-16",
    ],
)  # fmt: skip
def test_another_content_type_is_refused(client: FlaskClient, content_type: str | None) -> None:
    answer = client.post("/jobs", data=chat(), content_type=content_type)
    assert_problem(answer.get_json(), 415)


def test_a_compressed_body_is_refused(client: FlaskClient) -> None:
    answer = client.post("/jobs", data=b"x", content_type="application/json", headers={"Content-Encoding": "gzip"})
    assert_problem(answer.get_json(), 415)


@pytest.mark.parametrize("parameter", ["charset=utf-8", 'charset="UTF-8"', "CharSet=utf8", "profile=x"])
def test_utf8_is_no_other_content_type(client: FlaskClient, parameter: str) -> None:
    assert client.post("/jobs", data=chat(), content_type=f"application/json; {parameter}").status_code == 202


def test_a_body_over_the_limit_is_refused(make_client: MakeClient, valkey: Valkey) -> None:
    client = make_client(TANDEM_MAX_BODY_BYTES="1000")
    answer = client.post("/jobs", json={"prompt": "x" * 1000})
    assert_problem(answer.get_json(), 413)
    assert valkey.client.dbsize() == 0


def test_a_mode_in_the_query_is_not_silently_ignored(client: FlaskClient, valkey: Valkey) -> None:
    answer = client.post("/jobs?mode=gpu", json=OK)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["mode"])
    assert valkey.client.dbsize() == 0


def test_an_unknown_model_names_those_that_look_alike(client: FlaskClient) -> None:
    answer = client.post("/jobs", json=OK | {"model": "nvidia/nemotron-3-nano-30b-a3"})
    assert_problem(answer.get_json(), 404)
    assert answer.get_json()["near"][0] == "nvidia/nemotron-3-nano-30b-a3b"


def test_a_mode_that_nobody_serves_is_503_with_whole_seconds(client: FlaskClient) -> None:
    answer = client.post("/jobs", json=OK | {"mode": "gpu"})
    assert_problem(answer.get_json(), 503)
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("limit=", "limit"),
        ("status=done", "status"), ("after=", "after"), ("model=", "model"), ("page=2", "page"),
        ("after=%00", "after"),
    ],
)  # fmt: skip
def test_a_bad_question_for_the_list_is_refused(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/jobs?{query}")
    assert_problem(answer.get_json(), 422)
    assert list(answer.get_json()["errors"]) == [field]


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/jobs"), ("PATCH", "/jobs/x"), ("GET", "/jobs/x/cancel"), ("POST", "/healthz")]
)
def test_another_method_is_405_with_allow(client: FlaskClient, method: str, path: str) -> None:
    answer = client.open(path, method=method)
    assert_problem(answer.get_json(), 405)
    assert "OPTIONS" in answer.headers["Allow"]


def test_an_unknown_page_is_a_problem_document(client: FlaskClient) -> None:
    answer = client.get("/nowhere")
    assert_problem(answer.get_json(), 404)
    assert client.head("/nowhere").status_code == 404
    assert client.options("/jobs").headers["Allow"]


#: For probes, which may add what they like, and to be read.
OPEN = ("/healthz", "/readyz")


def test_a_query_that_nobody_reads_is_refused_everywhere(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one")
    key = {"Authorization": "Bearer one"}
    paths = client.get("/openapi.json").get_json()["paths"]
    asked = [(verb, path) for path, item in paths.items() for verb in ("get", "post", "delete") if verb in item]
    for verb, path in asked:
        if path in OPEN:
            continue
        url = re.sub(r"\{\w+\}", "x", path)
        body = {"prompt": "hi"} if verb == "post" and path != "/v1/files" else None
        answer = client.open(f"{url}?foo=1", method=verb.upper(), headers=key, json=body)
        told = answer.get_json()
        if path.startswith("/v1/"):
            assert (answer.status_code, told["error"]["param"]) == (400, "foo"), (verb, path)
        else:
            assert (answer.status_code, list(told["errors"])) == (422, ["foo"]), (verb, path)
        assert client.open(f"{url}?foo=1", method=verb.upper(), json=body).status_code == 401, (verb, path)
