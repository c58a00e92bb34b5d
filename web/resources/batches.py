"""`/batches`: many jobs at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from flask import Response, request, stream_with_context
from flask.views import MethodView
from marshmallow import ValidationError

from tasks import settings
from tasks.batches import door
from tasks.batches.upload import Upload
from tasks.domain.batch import Batch, InvalidItem
from tasks.domain.errors import InvalidRequest
from tasks.domain.job import Job
from tasks.schemas.errors import by_field
from web import batch_body, idempotency
from web.auth import auth, owner
from web.blueprint import Blueprint, described
from web.idempotency import REPLAYED
from web.schemas.batch import BatchOptionsSchema, BatchSchema
from web.schemas.job import shown

blp = Blueprint("batches", __name__, url_prefix="/batches", description="Batches: many jobs submitted together")

NDJSON = "application/x-ndjson"
#: `true` while items are still to come.
INCOMPLETE = "Tandem-Incomplete"

_options = BatchOptionsSchema()


@blp.route("")
class Batches(MethodView):
    """All of an owner's batches."""

    decorators = [auth.login_required]

    @blp.response(202, BatchSchema, description="Accepted", headers=described("Location", REPLAYED))
    @blp.refuses(400, 401, 413, 415, 422, 503)
    @blp.doc(parameters=[idempotency.PARAMETER])
    def post(self) -> tuple[Batch, int, dict[str, str]]:
        """Submit a batch

        Items are read as they come, and looked at behind the answer.
        """
        here = settings.get()
        # The limit of a single job does not count here. Items are counted as they come; this is for all around them.
        request.max_content_length = 2 * here.batch_bytes
        with Upload(owner()) as upload:
            said, last_line = batch_body.read(request, upload.add, longest=here.max_body_bytes)
            try:
                options = _options.load(said)
            except ValidationError as error:
                field, sentences = next(iter(by_field({"": error.messages}).items()))
                raise InvalidRequest(" ".join(sentences), field=field) from error
            key = idempotency.key_of(request, options.idempotency_key)
            batch_id, replayed = upload.accept(replace(options, idempotency_key=key), last_line=last_line)
        headers = {"Location": f"/batches/{batch_id}"} | ({REPLAYED: "true"} if replayed else {})
        return door.find(batch_id, owner()), 202, headers


@blp.route("/<batch_id>")
class BatchById(MethodView):
    """One batch."""

    decorators = [auth.login_required]

    @blp.response(200, BatchSchema)
    @blp.refuses(401, 404, 503)
    def get(self, batch_id: str) -> Batch:
        """Ask after a batch"""
        return door.find(batch_id, owner())


@blp.route("/<batch_id>/cancel")
class Cancellation(MethodView):
    """The end of a batch before its time."""

    decorators = [auth.login_required]

    @blp.response(200, BatchSchema)
    @blp.refuses(401, 404, 503)
    def post(self, batch_id: str) -> Batch:
        """Cancel a batch

        What is done is kept, what runs is cut, the rest is cancelled.
        """
        return door.cancel(batch_id, owner())


@blp.route("/<batch_id>/results")
class Results(MethodView):
    """What has come of a batch so far."""

    decorators = [auth.login_required]

    @blp.response(200, description="Items that have completed, one a line, in the order in which they did")
    @blp.refuses(401, 404, 503)
    def get(self, batch_id: str) -> Response:
        """Read the results

        Also while the batch runs: then the header Tandem-Incomplete says so.
        """
        return _stream(batch_id, failed=False)


@blp.route("/<batch_id>/errors")
class Errors(MethodView):
    """What has gone wrong in a batch so far."""

    decorators = [auth.login_required]

    @blp.response(200, description="Items that were not valid or did not complete, one a line")
    @blp.refuses(401, 404, 503)
    def get(self, batch_id: str) -> Response:
        """Read the errors"""
        return _stream(batch_id, failed=True)


def _stream(batch_id: str, *, failed: bool) -> Response:
    found = door.find(batch_id, owner())
    headers = {} if found.status.is_final else {INCOMPLETE: "true"}
    lines = stream_with_context(_lines(batch_id, owner(), failed=failed))
    return Response(lines, headers=headers, content_type=NDJSON)


def _lines(batch_id: str, whose: str, *, failed: bool) -> Iterator[str]:
    if failed:
        for invalid in door.invalid(batch_id):
            yield _line(_refused(invalid))
    for custom_id, job in door.ended(batch_id, whose, failed=failed):
        yield _line(_outcome(custom_id, job))


def _outcome(custom_id: str, job: Job) -> dict[str, Any]:
    said = shown(job)
    return {
        "custom_id": custom_id,
        **{name: said[name] for name in ("id", "status", "model", "result", "usage", "error")},
    }


def _refused(invalid: InvalidItem) -> dict[str, Any]:
    error = {"code": invalid.code, "message": invalid.message, "field": invalid.field}
    return {"custom_id": invalid.custom_id, "id": None, "status": "invalid", "line": invalid.line, "error": error}


def _line(said: dict[str, Any]) -> str:
    return json.dumps(said, ensure_ascii=False) + "\n"
