"""`/v1/batches`: batches as OpenAI's API has them, made of an uploaded file."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

from flask import request
from flask.views import MethodView

from tasks import settings
from tasks.batches import door, files
from tasks.batches.upload import Upload
from tasks.domain.batch import Batch, BatchOptions, BatchStatus
from tasks.domain.errors import BatchNotFound, InvalidRequest
from tasks.domain.file import FileMissing
from tasks.files.store import pieces
from web import idempotency
from web.auth import auth, owner
from web.blueprint import OpenAIBlueprint, described
from web.body import without_query
from web.lines import Lines
from web.schemas.page import Page
from web.schemas.v1_batch import BatchCreationSchema, V1BatchesSchema, V1BatchListSchema, V1BatchSchema
from web.schemas.v1_batch_shown import Told

blp = OpenAIBlueprint("v1 batches", __name__, url_prefix="/v1/batches", description="Batches, as OpenAI's API has them")

#: So many lines that are wrong are told of; all of them are at /batches/{id}/errors.
MOST_ERRORS = 100


def _told(batch: Batch) -> Told:
    invalid = door.invalid(batch.id) if batch.status is BatchStatus.FAILED else iter(())
    return Told(batch=batch, invalid=list(islice(invalid, MOST_ERRORS)))


def _find(batch_id: str) -> Batch:
    batch = door.find(batch_id, owner())
    if batch.openai is None:
        # It has neither an endpoint nor a file: /batches has it.
        raise BatchNotFound(f"no batch {batch_id}")
    return batch


@blp.route("")
class Batches(MethodView):
    """All of an owner's batches that were made here."""

    decorators = [auth.login_required]

    @blp.arguments(BatchCreationSchema)
    @blp.response(200, V1BatchSchema, headers=described(idempotency.REPLAYED))
    @blp.refuses(400, 401, 404, 413, 415, 503)
    @blp.doc(parameters=[idempotency.PARAMETER])
    def post(self, options: BatchOptions) -> tuple[Told, int, dict[str, str]]:
        """Make a batch of an uploaded file"""
        key = idempotency.key_of(request, None)
        with Upload(owner(), field="input_file_id", key=key) as upload:
            try:
                last_line = _feed(upload, options)
            except FileMissing:
                if key and (earlier := door.made_of_file(owner(), key, options)):
                    return _told(earlier), 200, {idempotency.REPLAYED: "true"}
                raise
            batch_id, replayed = upload.accept(replace(options, idempotency_key=key), last_line=last_line)
        if replayed:
            return _told(door.find(batch_id, owner())), 200, {idempotency.REPLAYED: "true"}
        return _told(door.accepted(batch_id, owner(), options, total=upload.lines, lines=last_line)), 200, {}

    @blp.arguments(V1BatchesSchema, location="query")
    @blp.response(200, V1BatchListSchema)
    @blp.refuses(400, 401, 404, 503)
    def get(self, asked: dict[str, Any]) -> Page:
        """List batches, newest first"""
        found, has_more = door.page(owner(), status=None, only_openai=True, **asked)
        return Page(found=[_told(batch) for batch in found], has_more=has_more)


def _feed(upload: Upload, options: BatchOptions) -> int:
    assert options.openai is not None
    lines = Lines(upload.add, longest=settings.get().max_body_bytes)
    for data in pieces(files.input_of(options.openai.input_file_id, owner())):
        lines.feed(data)
    last = lines.close()
    if not upload.lines:
        raise InvalidRequest("the file has no requests", field="input_file_id")
    return last


@blp.route("/<batch_id>")
class BatchById(MethodView):
    """One batch."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, V1BatchSchema)
    @blp.refuses(400, 401, 404, 503)
    def get(self, batch_id: str) -> Told:
        """Ask after a batch"""
        return _told(_find(batch_id))


@blp.route("/<batch_id>/cancel")
class Cancellation(MethodView):
    """The end of a batch before its time."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, V1BatchSchema)
    @blp.refuses(400, 401, 404, 503)
    def post(self, batch_id: str) -> Told:
        """Cancel a batch

        What is done is kept, and in its output file.
        """
        _find(batch_id)
        return _told(door.cancel(batch_id, owner()))
