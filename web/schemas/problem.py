"""The shape of every error: RFC 9457."""

from __future__ import annotations

from marshmallow import Schema, fields


class ProblemSchema(Schema):
    """What went wrong. Only for the documentation: web/errors.py writes it."""

    type = fields.String(required=True, metadata={"description": "A stable URN, or about:blank."})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    instance = fields.String(required=True)
    request_id = fields.String(required=True, metadata={"description": "The answer's X-Request-ID."})
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "What is wrong, by field; an element's path has dots: messages.0.role."},
    )
    near = fields.List(fields.String(), metadata={"description": "Models whose names look alike."})


class OpenAIFaultSchema(Schema):
    """What went wrong, in OpenAI's words."""

    message = fields.String(required=True)
    type = fields.String(required=True)
    param = fields.String(required=True, allow_none=True)
    code = fields.String(required=True, allow_none=True)


class OpenAIErrorSchema(Schema):
    """An error under /v1. Only for the documentation: web/errors.py writes it."""

    error = fields.Nested(OpenAIFaultSchema, required=True)
