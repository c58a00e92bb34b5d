"""The OpenAPI side of the application: what smorest is told, and what it must do differently here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Flask, Response
from flask_smorest import Api, Blueprint  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException

from tasks.schemas import messages, requests, submission, tools
from tasks.schemas.fields import NO_NUL
from tasks.schemas.parts import ImagePartSchema, TextPartSchema
from tasks.schemas.tools import NamedToolSchema
from web import errors
from web.schemas import chat
from web.schemas.batch_options import BatchSubmissionSchema, DefaultsSchema, LastJobSchema
from web.schemas.job import EmbeddingResultSchema, ResultSchema
from web.schemas.problem import ProblemSchema

TITLE, VERSION = "Tandem", "0.1.0"
DESCRIPTION = (
    "Asynchronous LLM jobs: submit one with `POST /jobs`, come back for the answer. "
    "Every error is `application/problem+json` (RFC 9457); under /v1 it is OpenAI's. "
    "Beside those named below any request may be refused for how it was sent (400, 408, 414, 417, 431, 501), and "
    "without API keys for where it comes from (403, 421): docs/api.md has them all."
)
#: What is checked all the same, but marshmallow's fields have no way to say.
SHAPES = {
    "Message": messages.SHAPE,
    "ResponseFormat": tools.SHAPE,
    "Submission": requests.SHAPE,
    "BatchItem": requests.SHAPE,
    "LastJob": requests.SHAPE,
    "Chat": chat.SHAPE,
}
#: Schemas that are named in others by their reference only.
UNNAMED = {
    "Result": ResultSchema,
    "EmbeddingResult": EmbeddingResultSchema,
    "TextPart": TextPartSchema,
    "ImagePart": ImagePartSchema,
    "NamedTool": NamedToolSchema,
    "BatchSubmission": BatchSubmissionSchema,
    "LastJob": LastJobSchema,
    "Defaults": DefaultsSchema,
}
BEARER = {"type": "http", "scheme": "bearer", "description": "One of the keys in TANDEM_API_KEYS."}


class ProblemApi(Api):  # type: ignore[misc]  # smorest is untyped
    """Smorest's Api with problem+json in place of its own error format."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_ERROR_RESPONSE_NAME = None

    def handle_http_exception(self, error: HTTPException) -> Response:
        """A problem document for any HTTP error."""
        return errors.from_http(error)


def describe(app: Flask, blueprints: Iterable[Blueprint], *, secured: bool) -> None:
    """Register `blueprints`. With `secured`, the document asks for a key wherever one is asked for."""
    app.config.update(API_TITLE=TITLE, API_VERSION=VERSION, OPENAPI_VERSION="3.1.0")
    api = ProblemApi(app, spec_kwargs={"info": {"description": DESCRIPTION}})
    api.spec.components.security_scheme("bearer", BEARER)
    for name, schema in UNNAMED.items():
        api.spec.components.schema(name, schema=schema)
    app.extensions["api"] = api
    for blueprint in blueprints:
        api.register_blueprint(blueprint)
    schemas = api.spec.components.schemas
    for name, shape in SHAPES.items():
        schemas[name].update(shape)
    names = {"minLength": 1, "maxLength": submission.LONGEST_NAME, "pattern": NO_NUL}
    for name in ("Submission", "BatchSubmission", "BatchItem", "LastJob", "Defaults", "BatchCreation"):
        schemas[name]["properties"]["metadata"]["propertyNames"] = names
    for operation in _operations(api):
        operation["responses"] = dict(sorted(operation["responses"].items()))
        if secured and "401" in operation["responses"]:
            operation["security"] = [{"bearer": []}]


def _operations(api: Api) -> Iterable[dict[str, Any]]:
    for path in api.spec._paths.values():
        for operation in path.values():
            if isinstance(operation, dict) and "responses" in operation:
                yield operation
