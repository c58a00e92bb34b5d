"""`/batches` before anybody works on them: what is shown, and which questions are refused."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient


def create(client: FlaskClient) -> dict[str, object]:
    return dict(client.post("/batches", json={"items": [{"custom_id": "a", "prompt": "hi"}]}).get_json())


ROUTES = [
    ("GET", ""), ("DELETE", ""), ("GET", "/items"), ("GET", "/results"), ("GET", "/errors"),
    ("POST", "/cancel"), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/retry"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "what"), ROUTES)
def test_a_question_that_nobody_reads_is_refused(client: FlaskClient, method: str, what: str) -> None:
    batch = create(client)
    answer = client.open(f"/batches/{batch['id']}{what}?foo=1", method=method)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["foo"])
    assert client.get(f"/batches/{batch['id']}").get_json()["status"] == "validating"


def test_every_link_leads_somewhere(client: FlaskClient) -> None:
    links = create(client)["links"]
    assert isinstance(links, dict)
    assert set(links) == {"self", "items", "results", "errors", "cancel", "pause", "resume", "retry"}
    for name, path in links.items():
        method = "POST" if name in ("cancel", "pause", "resume", "retry") else "GET"
        assert client.open(path, method=method).status_code in (200, 409), name


def test_a_list_says_where_it_goes_on(client: FlaskClient) -> None:
    first, second = create(client)["id"], create(client)["id"]
    page = client.get("/batches").get_json()
    assert (page["first_id"], page["last_id"]) == (second, first)
    assert client.get(f"/batches?after={second}").get_json()["first_id"] == first
    empty = client.get(f"/batches?after={first}").get_json()
    assert (empty["first_id"], empty["last_id"]) == (None, None)


@pytest.mark.parametrize(("after", "status"), [("0", 200), ("1", 200), ("-1", 422), ("x", 422), ("job_1-1", 422)])
def test_items_go_on_behind_a_line(client: FlaskClient, after: str, status: int) -> None:
    assert client.get(f"/batches/{create(client)['id']}/items?after={after}").status_code == status


def test_items_go_on_behind_their_own_only(client: FlaskClient) -> None:
    one, other = (str(create(client)["id"]).removeprefix("batch_") for _ in range(2))
    assert client.get(f"/batches/batch_{one}/items?after=job_{one}-1").status_code == 200
    answer = client.get(f"/batches/batch_{one}/items?after=job_{other}-1")
    assert (answer.status_code, list(answer.get_json()["errors"])) == (404, ["after"])
