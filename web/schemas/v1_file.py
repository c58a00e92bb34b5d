"""Files as OpenAI's API has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields, validate

from tasks.domain.file import File, Purpose
from tasks.schemas.fields import Text

#: Of a page of files, and what OpenAI lets an expiry be.
MOST_FILES = 10_000
SHORTEST_TTL_S, LONGEST_TTL_S = 3600, 2_592_000


class FileSchema(Schema):
    """A file."""

    id = fields.String(required=True)
    object = fields.String(required=True, metadata={"const": "file"})
    bytes = fields.Integer(required=True)
    created_at = fields.Integer(required=True, metadata={"description": "Unix seconds."})
    expires_at = fields.Integer(required=True, metadata={"description": "Unix seconds."})
    filename = fields.String(required=True)
    purpose = fields.Enum(Purpose, by_value=True, required=True)
    status = fields.String(required=True, metadata={"const": "processed"})

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """See `shown`."""
        return shown(obj)


def shown(file: File) -> dict[str, Any]:
    """A file as a client sees it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose.value,
        "status": "processed",
    }


class FilesSchema(Schema):
    """Which files, and how many at once."""

    purpose = fields.Enum(Purpose, by_value=Text, load_default=None)
    limit = fields.Integer(load_default=MOST_FILES, validate=validate.Range(1, MOST_FILES))
    order = fields.String(load_default="desc", validate=validate.OneOf(["asc", "desc"]))
    after = Text(load_default=None, validate=validate.Length(1, 100), metadata={"description": "Start behind it."})


@dataclass(frozen=True, kw_only=True)
class FilePage:
    """Some files, and whether there are more."""

    found: list[File]
    has_more: bool


class FileListSchema(Schema):
    """A page of files."""

    object = fields.String(required=True, metadata={"const": "list"})
    data = fields.List(fields.Nested(FileSchema), required=True)
    first_id = fields.String(required=True, allow_none=True)
    last_id = fields.String(required=True, allow_none=True)
    has_more = fields.Boolean(required=True)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """A page of files."""
        return listed([shown(file) for file in obj.found], has_more=obj.has_more)


def listed(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page of a list, as OpenAI writes it."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


class FileDeletedSchema(Schema):
    """That a file is gone."""

    id = fields.String(required=True)
    object = fields.String(required=True, metadata={"const": "file"})
    deleted = fields.Boolean(required=True)


class UploadSchema(Schema):
    """The fields of an upload beside the file. `expires_after` comes as OpenAI's SDK writes an object into a form."""

    purpose = fields.String(required=True, validate=validate.OneOf([Purpose.BATCH.value]))
    anchor = fields.String(data_key="expires_after[anchor]", validate=validate.OneOf(["created_at"]))
    ttl_s = fields.Integer(
        data_key="expires_after[seconds]",
        load_default=None,
        validate=validate.Range(SHORTEST_TTL_S, LONGEST_TTL_S),
    )
