"""While there are no keys no page in a browser is let in; curl and SDKs notice nothing."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.support.valkey import Valkey
from tests.web.conftest import MakeClient

OWN = [
    "127.0.0.1",
    "127.0.0.1:8000",
    "[::1]:8000",
    "localhost",
    "LOCALHOST:9",
    "127.0.0.9:1",
    "app.internal",
    "10.1.2.3:80",
]
FOREIGN = [
    *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example:8000", "127.0.0.2", ""),
    *("[::2]", "localhost@evil.example", "evil.example#localhost", "x y", "localhost:8000:1", "127.0.0.1, evil"),
]
PAGES = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://[broken"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "Cross-Site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "none", "Origin": "http://evil.example"},
]
OURS = [
    {},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "none"},
    # Behind a proxy that puts another name into Host only the browser knows.
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://app.example"},
]
CHANGES = [
    ("POST", "/jobs"), ("POST", "/batches"), ("POST", "/chat"), ("POST", "/v1/files"), ("POST", "/v1/batches"),
    ("DELETE", "/jobs/job_x"), ("POST", "/nowhere"),
]  # fmt: skip


@pytest.fixture
def named(make_client: MakeClient) -> FlaskClient:
    return make_client(TANDEM_HOST="127.0.0.9", TANDEM_HOSTS="App.internal, 10.1.2.3")


@pytest.mark.parametrize("host", OWN)
def test_it_answers_under_its_own_names_whatever_the_port(named: FlaskClient, host: str) -> None:
    assert named.get("/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/jobs", "/healthz", "/docs", "/static/docs.js", "/nowhere"])
def test_no_name_of_another_is_answered(named: FlaskClient, path: str) -> None:
    for host in FOREIGN:
        answer = named.get(path, headers={"Host": host})
        assert (answer.status_code, answer.content_type) == (421, "application/problem+json"), host
        assert answer.get_json()["type"] == "urn:tandem:problem:host-not-allowed"
        assert answer.get_json()["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("headers", PAGES)
def test_no_foreign_page_changes_anything(client: FlaskClient, valkey: Valkey, headers: dict[str, str]) -> None:
    for method, path in CHANGES:
        answer = client.open(path, method=method, headers=headers, json={"prompt": "hi"})
        assert answer.status_code == 403, (method, path)
    assert valkey.client.keys("tandem:job:*") == []


@pytest.mark.parametrize("headers", OURS)
def test_our_own_pages_and_programs_notice_nothing(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/jobs", headers=headers, json={"prompt": "hi"}).status_code == 202


def test_a_link_from_another_site_may_be_followed(client: FlaskClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/docs", headers=headers).status_code == 200


def test_no_preflight_is_granted(client: FlaskClient) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert not [name for name, _ in client.options("/jobs", headers=asked).headers if name.startswith("Access-Control")]


def test_under_v1_it_is_said_in_the_form_of_openai(client: FlaskClient) -> None:
    for headers, status, code in (
        ({"Host": "evil.example"}, 421, "host_not_allowed"),
        ({"Origin": "http://evil.example"}, 403, "foreign_origin"),
    ):
        answer = client.post("/v1/batches", json={}, headers=headers)
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (status, code)


def test_where_there_are_keys_they_decide_alone(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one")
    headers = {"Host": "app.example", "Origin": "https://pages.example", "Authorization": "Bearer one"}
    assert client.post("/jobs", headers=headers, json={"prompt": "hi"}).status_code == 202
