"""What the service says of itself."""

from __future__ import annotations

from marshmallow import Schema, fields

from web.schemas.limits import KeyRefusedSchema
from web.schemas.problem import ProblemSchema


class AliveSchema(Schema):
    """The process lives."""

    status = fields.String(required=True)


class WorkerSchema(Schema):
    """A live worker."""

    name = fields.String(required=True)
    queues = fields.List(fields.String(), required=True, attribute="consumes")
    providers = fields.Function(
        lambda worker: [name for name in worker.providers.split(",") if name],
        required=True,
        metadata={
            "type": "array",
            "items": {"type": "string"},
            "description": "Who answers each of its queues, in their order.",
        },
    )
    state = fields.String(required=True, metadata={"enum": ["loading", "ready", "draining", "broken"]})
    model = fields.String(required=True)
    device = fields.String(required=True)
    in_flight = fields.Integer(required=True)
    capacity = fields.Integer(required=True)
    ready_in_s = fields.Float(required=True)


class ProvidersSchema(Schema):
    """Who answers, by mode, as the live workers say; in the order in which they are asked."""

    gpu = fields.List(fields.String(), required=True)
    api = fields.List(fields.String(), required=True)


class RefusedKeySchema(KeyRefusedSchema):
    """A provider that refuses our key, or its account."""

    provider = fields.String(required=True)


class ReadySchema(Schema):
    """Jobs can be accepted."""

    status = fields.String(required=True)
    redis = fields.String(required=True, metadata={"description": "`ok`"})
    workers = fields.List(fields.Nested(WorkerSchema), required=True)
    providers = fields.Nested(ProvidersSchema, required=True)
    keys_refused = fields.List(
        fields.Nested(RefusedKeySchema),
        required=True,
        metadata={"description": "The providers that refuse our key: their jobs wait until it is good again"},
    )
    warnings = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "Why Redis may lose accepted jobs: it drops them when full, or has no append-only file"
        },
    )


class UnreadySchema(ProblemSchema):
    """No job can be accepted. Only `redis` and what follows is missing where Redis is away."""

    redis = fields.String(metadata={"description": "The same as `detail`"})
    workers = fields.List(fields.Nested(WorkerSchema))
    providers = fields.Nested(ProvidersSchema)
    keys_refused = fields.List(fields.Nested(RefusedKeySchema))
    warnings = fields.List(fields.String())
