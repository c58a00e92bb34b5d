"""The OpenAPI document, the page that draws it, and whether the application keeps to it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from openapi_spec_validator import validate

from tests.web.conftest import MakeClient
from web import openapi


def test_the_committed_document_is_the_applications_own(make_client: MakeClient) -> None:
    served = make_client(TANDEM_API_KEYS="ann:one").get("/openapi.json").get_json()
    assert openapi.COMMITTED.read_text() == openapi.text(served), "run: python -m web.openapi"


def test_the_document_is_valid_openapi_3_1(make_client: MakeClient) -> None:
    served = make_client().get("/openapi.json").get_json()
    assert served["openapi"] == "3.1.0"
    validate(served)


def test_every_status_is_documented(make_client: MakeClient) -> None:
    post = make_client().get("/openapi.json").get_json()["paths"]["/jobs"]["post"]
    assert set(post["responses"]) == {"200", "202", "400", "401", "404", "413", "415", "422", "503"}


def test_a_key_is_asked_for_only_where_there_are_keys(make_client: MakeClient) -> None:
    open_, closed = (make_client(TANDEM_API_KEYS=keys).get("/openapi.json").get_json() for keys in ("", "ann:one"))
    assert [path for path, operation in _operations(open_) if "security" in operation] == []
    secured = {path for path, operation in _operations(closed) if operation.get("security") == [{"bearer": []}]}
    assert secured == {path for path, _ in _operations(closed) if path.startswith("/jobs")}


def _operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    verbs = {"get", "post", "delete"}
    return [(path, item[verb]) for path, item in document["paths"].items() for verb in verbs & item.keys()]


def test_the_page_loads_nothing_from_elsewhere(make_client: MakeClient) -> None:
    client = make_client()
    page = client.get("/docs")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    html = page.get_data(as_text=True)
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=|https?://", html)
    for path in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert client.get(path).status_code == 200, path
    assert client.get("/").headers["Location"] == "/docs"


@pytest.fixture
def document(make_client: MakeClient) -> Any:
    """The document of an application with keys, for schemathesis."""
    return schemathesis.openapi.from_wsgi("/openapi.json", make_client(TANDEM_API_KEYS="ann:one").application)


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_application_keeps_to_its_document(case: schemathesis.Case) -> None:
    case.call_and_validate(headers={"Authorization": "Bearer one"})
