"""Errors as HTTP: the project's error tree and werkzeug's exceptions become problem+json (RFC 9457); under /v1 they are
OpenAI's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from tasks.domain.errors import (
    BatchBusy,
    BatchNotFound,
    BatchTooLarge,
    ConflictingKeys,
    IdempotencyMismatch,
    InvalidRequest,
    JobNotFound,
    ModelGone,
    RequestError,
    Unavailable,
    UnknownModel,
)
from tasks.domain.file import FileMissing, FileTooLarge
from tasks.schemas import openai_answers
from tasks.schemas.errors import by_field

PROBLEM = "application/problem+json"
#: Under it everything is in OpenAI's form.
OPENAI = "/v1/"
#: The status and the stable word of each error that a caller can fix.
REFUSALS: dict[type[RequestError], tuple[int, str]] = {
    JobNotFound: (404, "job-not-found"),
    BatchNotFound: (404, "batch-not-found"),
    BatchBusy: (409, "batch-busy"),
    BatchTooLarge: (413, "batch-too-large"),
    FileMissing: (404, "file-not-found"),
    FileTooLarge: (413, "file-too-large"),
    UnknownModel: (404, "unknown-model"),
    ModelGone: (422, "model-retired"),
    IdempotencyMismatch: (422, "idempotency-mismatch"),
    ConflictingKeys: (400, "conflicting-keys"),
    InvalidRequest: (422, "invalid-request"),
}


def attach(app: Flask) -> None:
    """Let `app` answer the project's errors. HTTP exceptions come through web.api.ProblemApi."""
    app.register_error_handler(RequestError, refused)
    app.register_error_handler(Unavailable, unavailable)
    app.register_error_handler(ParseException, unreadable)


def problem(
    status: int,
    detail: str,
    *,
    word: str | None = None,
    errors: Mapping[str, list[str]] | None = None,
    near: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document. `word` makes its type a stable URN; without one the status says it all (about:blank).
    `more` are further members."""
    if request.path.startswith(OPENAI):
        return _openai(status, detail, word=word, errors=errors or {}, headers=headers)
    body: dict[str, Any] = {
        "type": f"urn:tandem:problem:{word}" if word else "about:blank",
        "title": word.replace("-", " ").capitalize() if word else HTTP_STATUS_CODES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "instance": request.path,
        "request_id": g.get("request_id"),
    }
    if errors:
        body["errors"] = errors
    if near:
        body["near"] = near
    body |= more or {}
    return Response(json.dumps(body), status, headers, content_type=PROBLEM)


def _openai(
    status: int, detail: str, *, word: str | None, errors: Mapping[str, list[str]], headers: Mapping[str, str] | None
) -> Response:
    status = 400 if status == 422 else status
    code = "invalid_api_key" if status == 401 else word and word.replace("-", "_")
    body = openai_answers.error(detail, code=code, status=status, param=next(iter(errors), None))
    return Response(json.dumps(body), status, headers, content_type="application/json")


def refused(error: RequestError) -> Response:
    """4xx for what the caller can fix."""
    status, word = next(said for kind, said in REFUSALS.items() if isinstance(error, kind))
    near = error.near if isinstance(error, UnknownModel) else ()
    errors = {error.field: [error.message]} if error.field else None
    return problem(status, error.message, word=word, errors=errors, near=near)


def unavailable(error: Unavailable, more: Mapping[str, Any] | None = None) -> Response:
    """503 with whole seconds to wait."""
    wait = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    return problem(503, error.message, word="unavailable", headers=wait, more=more)


def unreadable(_error: ParseException) -> Response:
    """400 for a body whose chunks are not what they should be: gunicorn finds that out while it is being read."""
    return problem(400, "the body is not chunked as it should be")


def from_http(error: HTTPException) -> Response:
    """Werkzeug's and webargs' exceptions. An unexpected error arrives here as a 500 and tells nothing of itself."""
    status = error.code or 500
    kept = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    told = getattr(error, "data", None) or {}
    if "messages" in told:
        return invalid(told["messages"])
    detail = error.description if status < 500 else None
    return problem(status, detail or "the server failed to answer; the request id finds it in the log", headers=kept)


def invalid(messages: Mapping[str, Any]) -> Response:
    """422 for what did not pass a schema: `messages` is webargs' tree, by location."""
    found = by_field(messages)
    field, sentences = next(iter(found.items()))
    detail = f"{field}: {sentences[0]}" if field else sentences[0]
    return problem(422, detail, word="invalid-request", errors=found)
