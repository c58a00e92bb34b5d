"""Files as OpenAI's API has them."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from tasks.domain.file import File, Purpose
from tasks.schemas.fields import Text
from web.schemas.page import PageSchema

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


class FileListSchema(PageSchema):
    """A page of files."""

    data = fields.List(fields.Nested(FileSchema), required=True)

    def shown(self, one: Any) -> dict[str, Any]:
        """See `shown`."""
        return shown(one)


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
