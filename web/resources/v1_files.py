"""`/v1/files`: files as OpenAI's API has them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Response, request
from flask.views import MethodView
from marshmallow import ValidationError
from werkzeug.exceptions import UnsupportedMediaType

from tasks import settings
from tasks.batches import files
from tasks.domain.errors import InvalidRequest
from tasks.domain.file import File, Purpose
from tasks.files.store import pieces
from tasks.schemas.errors import by_field
from tasks.schemas.fields import is_clean
from web import form
from web.auth import auth, owner
from web.blueprint import OpenAIBlueprint
from web.body import without_query
from web.schemas.page import Page
from web.schemas.v1_file import (
    LONGEST_TTL_S,
    SHORTEST_TTL_S,
    FileDeletedSchema,
    FileListSchema,
    FileSchema,
    FilesSchema,
    UploadSchema,
)

blp = OpenAIBlueprint("v1 files", __name__, url_prefix="/v1/files", description="Files, as OpenAI's API has them")

_upload = UploadSchema()

#: What a form has around its file.
AROUND_BYTES = 1_000_000
LONGEST_FILENAME = 255
FORM, RAW = "multipart/form-data", "application/octet-stream"
BYTES = {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": BYTES,
                    "purpose": {"type": "string", "enum": [Purpose.BATCH.value]},
                    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                    "expires_after[seconds]": {
                        "type": "integer",
                        "minimum": SHORTEST_TTL_S,
                        "maximum": LONGEST_TTL_S,
                    },
                },
                "additionalProperties": False,
            }
        }
    },
}


@blp.route("")
class Files(MethodView):
    """All of an owner's files."""

    decorators = [auth.login_required]

    @blp.response(200, FileSchema)
    @blp.refuses(400, 401, 413, 415, 503)
    @blp.doc(requestBody=BODY)
    @without_query
    def post(self) -> File:
        """Upload a file

        The lines of a batch. They are read when the batch is made.
        """
        if request.mimetype != FORM:
            raise UnsupportedMediaType(f"send {FORM}")
        request.max_content_length = settings.get().batch_bytes + AROUND_BYTES
        with files.draft(owner()) as draft:
            said, filename = form.read(request, draft.write)
            try:
                loaded = _upload.load(said)
            except ValidationError as error:
                field, sentences = next(iter(by_field({"": error.messages}).items()))
                raise InvalidRequest(" ".join(sentences), field=field) from error
            purpose = Purpose(loaded["purpose"])
            return files.keep(draft, filename=_name(filename), purpose=purpose, ttl_s=loaded["ttl_s"])

    @blp.arguments(FilesSchema, location="query")
    @blp.response(200, FileListSchema)
    @blp.refuses(400, 401, 404, 503)
    def get(self, asked: dict[str, Any]) -> Page:
        """List files, newest first unless told otherwise"""
        newest_first = asked.pop("order") == "desc"
        found, has_more = files.page(owner(), newest_first=newest_first, **asked)
        return Page(found=found, has_more=has_more)


def _name(given: str) -> str:
    return given[:LONGEST_FILENAME] if given and is_clean(given) else "upload.jsonl"


@blp.route("/<file_id>")
class FileById(MethodView):
    """One file."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, FileSchema)
    @blp.refuses(400, 401, 404, 503)
    def get(self, file_id: str) -> File:
        """Ask after a file"""
        return files.find(file_id, owner())

    @blp.response(200, FileDeletedSchema)
    @blp.refuses(400, 401, 404, 503)
    def delete(self, file_id: str) -> dict[str, Any]:
        """Delete a file

        A batch that was made of it goes on: it has its lines.
        """
        files.delete(file_id, owner())
        return {"id": file_id, "object": "file", "deleted": True}


@blp.route("/<file_id>/content")
class Content(MethodView):
    """The bytes of a file."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, BYTES, content_type=RAW, description="The bytes")
    @blp.refuses(400, 401, 404, 503)
    def get(self, file_id: str) -> Response:
        """Download a file"""
        file = files.find(file_id, owner())
        headers = {
            "Content-Length": str(file.size_bytes),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        }
        return Response(pieces(files.open_(file)), headers=headers, content_type=RAW)
