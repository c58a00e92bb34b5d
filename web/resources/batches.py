"""`/batches`: many jobs at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Response, request
from flask.views import MethodView
from marshmallow import ValidationError

from tasks import settings
from tasks.batches import door
from tasks.batches.upload import Upload
from tasks.domain.batch import Batch
from tasks.domain.errors import InvalidRequest
from tasks.schemas.errors import by_field
from web import batch_body, idempotency
from web.auth import auth, owner
from web.batch_body import TEXTS
from web.blueprint import Blueprint, described
from web.body import without_query
from web.idempotency import REPLAYED
from web.resources.jobs import nothing
from web.schemas.batch import BatchSchema
from web.schemas.batch_items import BatchesSchema, BatchListSchema
from web.schemas.batch_options import EXAMPLE, BatchOptionsSchema
from web.schemas.page import Page

blp = Blueprint("batches", __name__, url_prefix="/batches", description="Batches: many jobs submitted together")

_options = BatchOptionsSchema()

LINES = {"type": "string", "description": "A JSON object a line: a job, with a custom_id. Options go into the query."}
FILE = {"type": "string", "format": "binary", "description": "Such lines; options are fields."}
#: The options beside the items, as they are in a body of JSON.
OPTIONS = {name: {"$ref": f"#/components/schemas/BatchSubmission/properties/{name}"} for name in _options.fields}
FORM = {"type": "object", "required": ["file"], "properties": {"file": FILE, **OPTIONS}}
QUERY = [
    {"in": "query", "name": name, "description": "With application/x-ndjson only."}
    | ({"schema": shape} if name in TEXTS else {"content": {"application/json": {"schema": shape}}})
    for name, shape in OPTIONS.items()
]
BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/BatchSubmission"}, "example": EXAMPLE},
        "application/x-ndjson": {"schema": LINES},
        "multipart/form-data": {"schema": FORM},
    },
}


@blp.route("")
class Batches(MethodView):
    """All of an owner's batches."""

    decorators = [auth.login_required]

    @blp.response(202, BatchSchema, description="Accepted", headers=described("Location", REPLAYED))
    @blp.refuses(400, 401, 413, 415, 422, 503)
    @blp.doc(parameters=[idempotency.PARAMETER, *QUERY], requestBody=BODY)
    def post(self) -> tuple[Batch, int, dict[str, str]]:
        """Submit a batch

        Items are read as they come, and looked at behind the answer.
        """
        here = settings.get()
        # The limit of a single job does not count here. Items are counted as they come; this is for all around them.
        request.max_content_length = 2 * here.batch_bytes
        # Where it is known before the items: with others, and inside a form, it may come behind them.
        early = idempotency.key_of(request, request.args.get("idempotency_key"))
        may_follow = early is None and request.mimetype != batch_body.LINES
        with Upload(owner(), key=early, key_may_follow=may_follow) as upload:
            said, last_line = batch_body.read(request, upload.add, longest=here.max_body_bytes)
            try:
                options = _options.load(said)
            except ValidationError as error:
                field, sentences = next(iter(by_field({"": error.messages}).items()))
                raise InvalidRequest(" ".join(sentences), field=field) from error
            key = idempotency.key_of(request, options.idempotency_key)
            batch_id, replayed = upload.accept(replace(options, idempotency_key=key), last_line=last_line)
        headers = {"Location": f"/batches/{batch_id}"}
        if replayed:
            return door.find(batch_id, owner()), 202, headers | {REPLAYED: "true"}
        return door.accepted(batch_id, owner(), options, total=upload.lines, lines=last_line), 202, headers

    @blp.arguments(BatchesSchema, location="query")
    @blp.response(200, BatchListSchema)
    @blp.refuses(401, 404, 422, 503)
    def get(self, asked: dict[str, Any]) -> Page:
        """List batches, newest first"""
        found, has_more = door.page(owner(), **asked)
        return Page(found=found, has_more=has_more)


@blp.route("/<batch_id>")
class BatchById(MethodView):
    """One batch."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, BatchSchema)
    @blp.refuses(401, 404, 422, 503)
    def get(self, batch_id: str) -> Batch:
        """Ask after a batch"""
        return door.find(batch_id, owner())

    @blp.response(204)
    @blp.refuses(401, 404, 422, 503)
    def delete(self, batch_id: str) -> Response:
        """Erase a batch and its items

        What runs is cut. The batch is out of sight at once, its items within seconds.
        """
        door.erase(batch_id, owner())
        return nothing()


@blp.route("/<batch_id>/cancel")
class Cancellation(MethodView):
    """The end of a batch before its time."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, BatchSchema)
    @blp.refuses(401, 404, 422, 503)
    def post(self, batch_id: str) -> Batch:
        """Cancel a batch

        What is done is kept, what runs is cut, the rest is cancelled.
        """
        return door.cancel(batch_id, owner())


@blp.route("/<batch_id>/retry")
class Retry(MethodView):
    """Another round."""

    decorators = [without_query, auth.login_required]

    @blp.response(202, BatchSchema, description="The round has begun")
    @blp.refuses(401, 404, 409, 422, 503)
    def post(self, batch_id: str) -> tuple[Batch, int]:
        """Run again what has no answer

        Items that failed, expired or were cancelled, as a new round of the same batch. What is done is kept.
        """
        return door.retry(batch_id, owner()), 202


@blp.route("/<batch_id>/pause")
class Pause(MethodView):
    """A rest."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, BatchSchema)
    @blp.refuses(401, 404, 409, 422, 503)
    def post(self, batch_id: str) -> Batch:
        """Begin no more items for a while

        Calls that run come to their end. The deadline stays as it is.
        """
        return door.pause(batch_id, owner(), paused=True)


@blp.route("/<batch_id>/resume")
class Resume(MethodView):
    """The end of it."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, BatchSchema)
    @blp.refuses(401, 404, 409, 422, 503)
    def post(self, batch_id: str) -> Batch:
        """Go on with a batch that was paused"""
        return door.pause(batch_id, owner(), paused=False)
