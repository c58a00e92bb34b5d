"""Batches as OpenAI's API has them: another view of the same records."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, post_load, validate

from tasks.domain.batch import BatchOptions, BatchStatus, OpenAIForm
from tasks.schemas.fields import Pairs, Text, Whole
from tasks.schemas.openai_bodies import KINDS
from tasks.schemas.submission import LONGEST_NAME
from web.schemas.page import PageSchema
from web.schemas.v1_batch_shown import shown
from web.schemas.v1_file import LONGEST_TTL_S, SHORTEST_TTL_S

#: OpenAI's is 24h. Hardware of one's own may take other times, each in the words that people write: 900s, 90m, 36h, 4d.
WINDOW = "^([1-9][0-9]{0,4}s|[1-9][0-9]{0,2}m|[1-9][0-9]?h|[1-4]d)$"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class ExpirySchema(Schema):
    """How long files are kept, from when they are made."""

    anchor = fields.String(required=True, validate=validate.OneOf(["created_at"]))
    seconds = Whole(required=True, validate=validate.Range(SHORTEST_TTL_S, LONGEST_TTL_S))


class BatchCreationSchema(Schema):
    """A batch to be made of an uploaded file."""

    input_file_id = Text(required=True, validate=validate.Length(1, 100))
    endpoint = fields.String(required=True, validate=validate.OneOf(list(KINDS)))
    completion_window = Text(
        required=True,
        validate=validate.Regexp(WINDOW.replace("$", r"\Z"), error="Must be 24h, or another time like 90m, up to 4d."),
        metadata={
            "description": "24h, or another time up to 4d; what has not ended by then expires",
            "pattern": WINDOW,
        },
    )
    metadata = Pairs(most=16, longest_key=LONGEST_NAME, longest_value=512, load_default=None, allow_none=True)
    output_expires_after = fields.Nested(ExpirySchema)

    @post_load
    def build(self, loaded: dict[str, Any], **_: Any) -> BatchOptions:
        """The batch's options."""
        window = loaded["completion_window"]
        asked = OpenAIForm(
            endpoint=loaded["endpoint"],
            input_file_id=loaded["input_file_id"],
            window=window,
            output_ttl_s=loaded.get("output_expires_after", {}).get("seconds"),
        )
        return BatchOptions(
            expires_in_s=float(int(window[:-1]) * SECONDS[window[-1]]), metadata=loaded["metadata"] or {}, openai=asked
        )


class LineErrorSchema(Schema):
    """What is wrong with a line."""

    code = fields.String(required=True)
    message = fields.String(required=True)
    param = fields.String(required=True, allow_none=True)
    line = fields.Integer(required=True, allow_none=True)


class LineErrorsSchema(Schema):
    """What is wrong with the input file: the first lines of it that are wrong."""

    object = fields.String(required=True, metadata={"const": "list"})
    data = fields.List(fields.Nested(LineErrorSchema), required=True)


class CountsSchema(Schema):
    """How the requests stand. Those that expired or were cancelled are neither completed nor failed."""

    total = fields.Integer(required=True)
    completed = fields.Integer(required=True)
    failed = fields.Integer(required=True)


TIME = {"description": "Unix seconds."}


class V1BatchSchema(Schema):
    """A batch."""

    id = fields.String(required=True)
    object = fields.String(required=True, metadata={"const": "batch"})
    endpoint = fields.String(required=True)
    errors = fields.Nested(LineErrorsSchema, required=True, allow_none=True)
    input_file_id = fields.String(required=True)
    completion_window = fields.String(required=True)
    status = fields.Enum(BatchStatus, by_value=True, required=True)
    output_file_id = fields.String(required=True, allow_none=True)
    error_file_id = fields.String(required=True, allow_none=True)
    created_at = fields.Integer(required=True, metadata=TIME)
    in_progress_at = fields.Integer(required=True, allow_none=True, metadata=TIME)
    expires_at = fields.Integer(required=True, metadata=TIME)
    finalizing_at = fields.Integer(required=True, allow_none=True, metadata=TIME)
    completed_at = fields.Integer(required=True, allow_none=True, metadata=TIME)
    failed_at = fields.Integer(required=True, allow_none=True, metadata=TIME)
    expired_at = fields.Integer(required=True, allow_none=True, metadata=TIME)
    cancelling_at = fields.Integer(required=True, allow_none=True, metadata=TIME)
    cancelled_at = fields.Integer(required=True, allow_none=True, metadata=TIME)
    request_counts = fields.Nested(CountsSchema, required=True)
    usage = fields.Dict(required=True, allow_none=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True, allow_none=True)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """See `shown`."""
        return shown(obj)


class V1BatchesSchema(Schema):
    """How many batches at once."""

    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    after = Text(load_default=None, validate=validate.Length(1, 100), metadata={"description": "Start behind it."})


class V1BatchListSchema(PageSchema):
    """A page of batches, newest first."""

    data = fields.List(fields.Nested(V1BatchSchema), required=True)

    def shown(self, one: Any) -> dict[str, Any]:
        """See `v1_batch_shown.shown`."""
        return shown(one)
