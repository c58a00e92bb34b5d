"""The OpenAPI document, the page that draws it, and whether the application keeps to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, assume, given, settings
from marshmallow import Schema
from openapi_spec_validator import validate
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from tasks.intake import MOST_IMAGES
from tasks.schemas.parts import URL
from tasks.store import fleet
from tasks.store.fleet import Worker
from tests.images.pictures import data_url, plain
from tests.support.valkey import Valkey
from tests.web.conftest import MakeClient
from web import openapi
from web.guesses import Guesses
from web.schemas.batch_options import BatchOptionsSchema

VERBS = {"get", "post", "delete"}


def test_the_committed_document_is_the_applications_own(make_client: MakeClient) -> None:
    served = make_client(TANDEM_API_KEYS="ann:one").get("/openapi.json").get_json()
    assert openapi.COMMITTED.read_text() == openapi.text(served), "run: python -m web.openapi"


def test_the_document_is_valid_openapi_3_1(make_client: MakeClient) -> None:
    served = make_client().get("/openapi.json").get_json()
    assert served["openapi"] == "3.1.0"
    validate(served)


def test_every_status_is_documented(make_client: MakeClient) -> None:
    post = make_client().get("/openapi.json").get_json()["paths"]["/jobs"]["post"]
    assert set(post["responses"]) == {"200", "202", "400", "401", "404", "413", "415", "422", "429", "503"}


def test_every_query_field_that_is_read_is_in_the_document(make_client: MakeClient) -> None:
    app = make_client().application
    document = app.test_client().get("/openapi.json").get_json()
    read = dict(_read_from_queries(app))
    assert read["post", "/chat"] == {"mode"}
    read["post", "/batches"] = set(BatchOptionsSchema().fields)
    for path, item in document["paths"].items():
        for verb in VERBS & item.keys():
            named = {one["name"] for one in item[verb].get("parameters", ()) if one["in"] == "query"}
            assert named == read.pop((verb, path), set()), (verb, path)
    assert read == {}


def _read_from_queries(app: Flask) -> Iterator[tuple[tuple[str, str], set[str]]]:
    """By operation: the fields of the schemas that its view reads the query by."""
    for rule in app.url_map.iter_rules():
        view = getattr(app.view_functions[rule.endpoint], "view_class", None)
        for verb in VERBS if view else ():
            declared = getattr(getattr(view, verb, None), "_apidoc", {}).get("arguments", {}).get("parameters", ())
            schemas = [one["schema"] for one in declared if one["in"] == "query" and "schema" in one]
            read = [one for one in schemas if isinstance(one, Schema)]
            fields = {field.data_key or name for one in read for name, field in one.fields.items()}
            if fields:
                yield (verb, re.sub(r"<(\w+:)?(\w+)>", r"{\2}", rule.rule)), fields


def test_headers_that_are_read_are_in_the_document(make_client: MakeClient) -> None:
    paths = make_client().get("/openapi.json").get_json()["paths"]
    read = {
        ("/jobs", "post"): {"Prefer", "Idempotency-Key"},
        ("/jobs/{job_id}", "get"): {"Prefer"},
        **{(path, "post"): {"Idempotency-Key"} for path in ("/batches", "/chat", "/v1/batches")},
    }
    for path, item in paths.items():
        for verb in VERBS & item.keys():
            named = {one["name"] for one in item[verb].get("parameters", ()) if one["in"] == "header"}
            assert named == read.get((path, verb), set()), (verb, path)


def test_every_answer_with_a_body_has_its_type(make_client: MakeClient) -> None:
    document = make_client().get("/openapi.json").get_json()
    for path, operation in _operations(document):
        for status, answer in operation["responses"].items():
            assert ("content" in answer) is (status != "204"), (path, status)
    paths = document["paths"]
    for what in ("results", "errors"):
        assert list(paths[f"/batches/{{batch_id}}/{what}"]["get"]["responses"]["200"]["content"]) == [
            "application/x-ndjson"
        ]
    content = paths["/v1/files/{file_id}/content"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["application/octet-stream"]


def test_what_is_422_elsewhere_is_400_under_v1(make_client: MakeClient) -> None:
    for path, operation in _operations(make_client().get("/openapi.json").get_json()):
        assert not (path.startswith("/v1/") and "422" in operation["responses"]), path


def test_the_pattern_of_an_images_url_is_the_one_that_judges(make_client: MakeClient) -> None:
    schemas = make_client().get("/openapi.json").get_json()["components"]["schemas"]
    pattern = schemas["ImageUrl"]["properties"]["url"]["pattern"]
    assert (pattern, "\0" in pattern, pattern.count("$")) == (URL, False, 1)


def test_a_key_is_asked_for_only_where_there_are_keys(make_client: MakeClient) -> None:
    open_, closed = (make_client(TANDEM_API_KEYS=keys).get("/openapi.json").get_json() for keys in ("", "ann:one"))
    assert [path for path, operation in _operations(open_) if "security" in operation] == []
    secured = {path for path, operation in _operations(closed) if operation.get("security") == [{"bearer": []}]}
    keyed = ("/jobs", "/batches", "/chat", "/limits", "/models", "/usage", "/v1/")
    assert secured == {path for path, _ in _operations(closed) if path.startswith(keyed)}


def _operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, item[verb]) for path, item in document["paths"].items() for verb in VERBS & item.keys()]


def test_the_page_loads_nothing_from_elsewhere(make_client: MakeClient) -> None:
    client = make_client()
    page = client.get("/docs")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    html = page.get_data(as_text=True)
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=|https?://", html)
    for path in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert client.get(path).status_code == 200, path
    assert client.get("/").headers["Location"] == "/docs"


BOUNDED = settings(
    max_examples=20,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_the_application_keeps_to_its_document(make_client: MakeClient, valkey: Valkey) -> None:
    operations = list(_described(make_client))
    assert len(operations) >= 12
    for operation in operations:
        _examine(operation, GenerationMode.POSITIVE, valkey)


def test_what_the_document_forbids_is_refused(make_client: MakeClient, valkey: Valkey) -> None:
    # Elsewhere the document leaves nothing to be got wrong.
    operations = [one for one in _described(make_client) if one.path in ("/jobs", "/chat")]
    assert len(operations) == 3
    for operation in operations:
        _examine(operation, GenerationMode.NEGATIVE, valkey)


def _described(make_client: MakeClient) -> Iterator[Any]:
    # The sandbox beside a gpu worker, so that each mode has somebody.
    app = make_client(TANDEM_API_KEYS="ann:one", TANDEM_SANDBOX="1").application
    # Wrong keys are to be refused with 401, and not with 429, however many are sent: by its clock they come slowly.
    app.extensions["guesses"] = Guesses(count(0.0, 1000.0).__next__)
    for found in schemathesis.openapi.from_wsgi("/openapi.json", app).get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


def _show_real_images(body: Any) -> None:
    """No schema can say which URLs lead to an image, nor which models take one, nor how many a whole job may have."""
    shown = 0
    for message in body.get("messages", ()) if isinstance(body, dict) else ():
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and isinstance(part.get("image_url"), dict) and "url" in part["image_url"]:
                assume((shown := shown + 1) <= MOST_IMAGES)
                part["image_url"]["url"] = data_url(plain())
                body["model"] = "sandbox/echo"


def _ask_for_few_tokens(body: Any) -> None:
    """No schema can say how many tokens the model has that is asked."""
    if isinstance(body, dict) and isinstance(body.get("max_tokens"), int):
        body["max_tokens"] = min(body["max_tokens"], 1000)


def _agree_on_the_mode(body: Any) -> None:
    """No schema can say that a batch and its defaults must not differ, nor what goes with `gpu`."""
    if isinstance(body, dict) and isinstance(body.get("defaults"), dict):
        body["defaults"].pop("mode", None)
    if isinstance(body, dict) and isinstance(body.get("on_complete"), dict):
        body["on_complete"].pop("mode", None)


def _examine(operation: Any, mode: GenerationMode, valkey: Valkey) -> None:
    def check(case: schemathesis.Case[Any]) -> None:
        # A key used before with another payload is rightly refused, and so are two keys at once: no schema can say so.
        valkey.client.flushall()
        case.headers.pop("Prefer", None)  # nobody here ends a job, so it would only take time
        if mode is GenerationMode.POSITIVE:
            case.headers.pop("Idempotency-Key", None)
            _show_real_images(case.body)
            _ask_for_few_tokens(case.body)
            _agree_on_the_mode(case.body)
            # What is in a line, or in a file of a form, no schema can say; what is uploaded may be anything.
            assume(case.media_type in (None, "application/json") or operation.path == "/v1/files")
            if (operation.method.upper(), operation.path) == ("POST", "/batches"):
                case.query.clear()  # the options of lines, and no schema can say that they go with nothing else
        # Without somebody on the gpu queue mode=gpu is 503.
        fleet.default().hello(Worker(name="g1", queues="gpu", state="ready"))
        case.call_and_validate(headers={"Authorization": "Bearer one"})

    BOUNDED(given(case=operation.as_strategy(generation_mode=mode))(check))()
