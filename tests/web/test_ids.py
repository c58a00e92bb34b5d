"""What is no id is no key either: it is answered like an id that nobody has, whatever lies under such a key."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.support.valkey import Valkey

#: Below the id of another's job or batch lie keys of other types.
NO_IDS = ["{}:invalid", "{}:chunk:0", "{}:names", "x:y", "a b", "é", "{}%0A", "%00", "x" * 200, "*", "{}\r\nx"]
PATHS = [
    ("GET", "/batches/{}"), ("DELETE", "/batches/{}"), ("POST", "/batches/{}/cancel"), ("POST", "/batches/{}/retry"),
    ("POST", "/batches/{}/pause"), ("POST", "/batches/{}/resume"), ("GET", "/batches/{}/items"),
    ("GET", "/batches/{}/results"), ("GET", "/batches/{}/errors"), ("GET", "/v1/batches/{}"),
    ("POST", "/v1/batches/{}/cancel"), ("GET", "/jobs/{}"), ("DELETE", "/jobs/{}"), ("POST", "/jobs/{}/cancel"),
    ("GET", "/chat/status/{}"), ("GET", "/v1/files/{}"), ("DELETE", "/v1/files/{}"), ("GET", "/v1/files/{}/content"),
]  # fmt: skip
AFTER = ["/jobs", "/batches", "/v1/batches", "/v1/files"]


@pytest.fixture
def batch_id(client: FlaskClient) -> str:
    line = '{"custom_id": "a", "prompt": "hi"}\n{"custom_id": "b"}\n'
    answer = client.post("/batches", data=line, content_type="application/x-ndjson")
    return str(answer.get_json()["id"])


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_what_is_no_id_is_not_found(client: FlaskClient, valkey: Valkey, batch_id: str, method: str, path: str) -> None:
    before = set(valkey.client.keys())
    for form in NO_IDS:
        answer = client.open(path.format(form.format(batch_id)), method=method)
        assert answer.status_code == 404, form
    assert set(valkey.client.keys()) == before


@pytest.mark.parametrize("path", AFTER)
def test_nor_does_a_page_go_on_behind_it(client: FlaskClient, batch_id: str, path: str) -> None:
    for form in ("{}:invalid", "x:y", "*"):
        answer = client.get(path.format(batch_id), query_string={"after": form.format(batch_id)})
        assert answer.status_code == 404, form
