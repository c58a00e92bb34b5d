"""A job as clients see it. The schemas document it; job_shown.py writes it."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from tasks.domain.job import Kind, Mode, Status
from web.schemas.job_shown import shown
from web.schemas.page import PageSchema
from web.schemas.times import TIMES


class WaitSchema(Schema):
    """What a pending job waits for."""

    reason = fields.String(
        required=True,
        metadata={
            "enum": [
                "queue",
                "backoff",
                "rate_limit",
                "circuit_open",
                "key_refused",
                "paused",
                "storage_full",
                "coalesced",
            ]
        },
    )
    until = fields.String(required=True, allow_none=True, metadata=TIMES)


class UsageSchema(Schema):
    """Tokens."""

    prompt_tokens = fields.Integer(required=True)
    completion_tokens = fields.Integer(required=True)
    total_tokens = fields.Integer(required=True)
    cached_tokens = fields.Integer()
    reasoning_tokens = fields.Integer()


class SavedSchema(Schema):
    """What a job did not need, for it was given another's answer: the time and the tokens of that, and who answered."""

    queue = fields.String(required=True)
    provider = fields.String(required=True)
    model = fields.String(required=True)
    seconds = fields.Float()
    prompt_tokens = fields.Integer()
    completion_tokens = fields.Integer()
    total_tokens = fields.Integer()


class ResultSchema(Schema):
    """The answer to a chat."""

    content = fields.String(required=True, allow_none=True)
    reasoning = fields.String(required=True, allow_none=True)
    tool_calls = fields.List(fields.Dict(), required=True)
    finish_reason = fields.String(
        required=True, metadata={"description": "stop, length, tool_calls, or content_filter: a half answer."}
    )
    refusal = fields.String(metadata={"description": "Why the model does not answer, where it says so itself."})


class EmbeddingResultSchema(Schema):
    """One vector per text, in their order."""

    embeddings = fields.List(fields.List(fields.Float()), required=True)
    dimensions = fields.Integer(required=True)


class AttemptSchema(Schema):
    """One try. `model` is the one that answered."""

    n = fields.Integer(required=True)
    queue = fields.String(required=True)
    provider = fields.String(required=True)
    model = fields.String(required=True)
    worker = fields.String(required=True)
    started_at = fields.String(required=True, metadata=TIMES)
    ended_at = fields.String(required=True, allow_none=True, metadata=TIMES)
    outcome = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    usage = fields.Nested(UsageSchema)


class ReceiptSchema(Schema):
    """What became of an image: as it was given, and as the model was shown it (null before)."""

    in_ = fields.List(
        fields.Integer(),
        required=True,
        data_key="in",
        metadata={"minItems": 3, "maxItems": 3, "description": "Width and height in pixels, bytes."},
    )
    out = fields.List(
        fields.Integer(),
        required=True,
        allow_none=True,
        metadata={"minItems": 4, "maxItems": 4, "description": "The same, and JPEG's quality; 100: lossless."},
    )


class JobErrorSchema(Schema):
    """Why a job did not complete. `code` is a stable word."""

    code = fields.String(required=True)
    message = fields.String(required=True)


class LinksSchema(Schema):
    """Where to go from here."""

    self_ = fields.String(required=True, data_key="self")
    cancel = fields.String(required=True)


RESULT = {
    "oneOf": [
        {"$ref": "#/components/schemas/Result"},
        {"$ref": "#/components/schemas/EmbeddingResult"},
        {"type": "null"},
    ]
}


class JobSchema(Schema):
    """A job."""

    id = fields.String(required=True)
    kind = fields.Enum(Kind, by_value=fields.String, required=True)
    status = fields.Enum(Status, by_value=fields.String, required=True)
    mode = fields.Enum(Mode, by_value=fields.String, required=True)
    model = fields.String(required=True)
    created_at = fields.String(required=True, metadata=TIMES)
    started_at = fields.String(required=True, allow_none=True, metadata=TIMES)
    finished_at = fields.String(required=True, allow_none=True, metadata=TIMES)
    expires_at = fields.String(required=True, metadata=TIMES)
    waiting_on = fields.Nested(WaitSchema, required=True, allow_none=True)
    result = fields.Raw(required=True, allow_none=True, metadata=RESULT)
    usage = fields.Nested(UsageSchema, required=True, allow_none=True)
    error = fields.Nested(JobErrorSchema, required=True, allow_none=True)
    attempts = fields.List(fields.Nested(AttemptSchema), required=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    cached = fields.Boolean(required=True, metadata={"description": "Whether its answer was there already."})
    simulated = fields.Boolean(required=True, metadata={"description": "Whether the sandbox answered: no model did."})
    coalesced_with = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The job whose answer it waits for, or was given. Null too where that is not yours."},
    )
    saved = fields.Nested(SavedSchema, required=True, allow_none=True)
    images = fields.List(fields.Nested(ReceiptSchema), required=True)
    links = fields.Nested(LinksSchema, required=True)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """See `shown`."""
        return shown(obj)


class JobListSchema(PageSchema):
    """A page of jobs, newest first."""

    data = fields.List(fields.Nested(JobSchema), required=True)

    def shown(self, one: Any) -> dict[str, Any]:
        """See `job_shown.shown`."""
        return shown(one)
