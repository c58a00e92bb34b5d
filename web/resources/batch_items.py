"""`/batches/{id}/…`: the items of a batch, and what has come of them, also while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import Response, stream_with_context
from flask.views import MethodView

from tasks.batches import door
from tasks.domain.batch import Batch, InvalidItem, item_id
from tasks.domain.errors import JobNotFound
from web.auth import auth, owner
from web.blueprint import Blueprint, described
from web.body import without_query
from web.schemas.batch_items import ItemListSchema, ItemsSchema, item_shown
from web.schemas.page import Page

blp = Blueprint("batch items", __name__, url_prefix="/batches", description="The items of a batch")

NDJSON = "application/x-ndjson"
RESULTS = "One completed item a line, in the order in which they were"
ERRORS = "One item a line that is not valid or did not complete"
LINES = {"type": "string", "description": "A JSON object a line."}
INCOMPLETE = "Tandem-Incomplete"
#: What a line says of an item.
SHOWN = ("custom_id", "id", "status", "model", "result", "usage", "error", "simulated")


@blp.route("/<batch_id>/items")
class Items(MethodView):
    """Items as jobs."""

    decorators = [auth.login_required]

    @blp.arguments(ItemsSchema, location="query")
    @blp.response(200, ItemListSchema)
    @blp.refuses(401, 404, 422, 503)
    def get(self, asked: dict[str, Any], batch_id: str) -> Page:
        """List items, in the order of their lines"""
        batch = door.find(batch_id, owner())
        found, has_more = door.items(batch, **{**asked, "after": _line_of(asked["after"], batch)})
        return Page(found=found, has_more=has_more)


def _line_of(after: str, batch: Batch) -> int:
    line = int(after.rpartition("-")[2])
    if not after.isdecimal() and after != item_id(batch.id, line):
        raise JobNotFound(f"no item {after} in this batch to go on behind", field="after")
    return line


@blp.route("/<batch_id>/results")
class Results(MethodView):
    """What has come of a batch so far."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, LINES, content_type=NDJSON, description=RESULTS, headers=described(INCOMPLETE))
    @blp.refuses(401, 404, 422, 503)
    def get(self, batch_id: str) -> Response:
        """Read the results"""
        return _stream(batch_id, failed=False)


@blp.route("/<batch_id>/errors")
class Errors(MethodView):
    """What has gone wrong in a batch so far."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, LINES, content_type=NDJSON, description=ERRORS, headers=described(INCOMPLETE))
    @blp.refuses(401, 404, 422, 503)
    def get(self, batch_id: str) -> Response:
        """Read the errors"""
        return _stream(batch_id, failed=True)


def _stream(batch_id: str, *, failed: bool) -> Response:
    found = door.find(batch_id, owner())
    headers = {} if found.status.is_final else {INCOMPLETE: "true"}
    lines = stream_with_context(_lines(batch_id, owner(), failed=failed))
    return Response(lines, headers=headers, content_type=NDJSON)


def _lines(batch_id: str, whose: str, *, failed: bool) -> Iterator[bytes]:
    if failed:
        for invalid in door.invalid(batch_id):
            yield _line(_refused(invalid))
    for custom_id, job in door.ended(batch_id, whose, failed=failed):
        said = item_shown(custom_id, job)
        yield _line({name: said[name] for name in SHOWN})


def _refused(invalid: InvalidItem) -> dict[str, Any]:
    error = {"code": invalid.code, "message": invalid.message, "field": invalid.field}
    return {"custom_id": invalid.custom_id, "id": None, "status": "invalid", "line": invalid.line, "error": error}


def _line(said: dict[str, Any]) -> bytes:
    # In ASCII: U+2028, U+2029 and U+0085 end a line for many who read lines.
    return json.dumps(said).encode() + b"\n"
