"""What `/chat`, an earlier interface that is kept for its clients, takes and gives: a thin face over jobs."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from tasks.domain.job import Job, Kind, Mode, Status
from tasks.domain.request import ChatRequest, Message
from tasks.schemas.fields import Text
from tasks.schemas.submission import Asked, SamplingSchema
from web.schemas.limits import CircuitSchema, LimitSchema
from web.schemas.times import TIMES, rfc3339

EXAMPLE = {"message": "Olá, como você está?", "max_tokens": 256, "temperature": 0.7, "use_reasoning": True}
SHAPE = {"oneOf": [{"required": ["message"]}, {"required": ["messages"]}]}


class ChatSchema(SamplingSchema):
    """A message, or the `messages` of a whole conversation."""

    message = Text(validate=validate.Length(1))

    @post_load
    def build(self, loaded: dict[str, Any], **_: Any) -> Asked:
        """The body as a value; where it may be answered is said in the query."""
        message, messages = loaded.pop("message", None), loaded.pop("messages", None)
        if (message is None) == (messages is None):
            raise ValidationError("Give message or messages, and not both.", "message")
        return Asked(
            kind=Kind.CHAT,
            mode=Mode.AUTO,
            model=loaded.pop("model"),
            expires_in_s=None,
            metadata={},
            idempotency_key=loaded.pop("idempotency_key", None),
            cache=loaded.pop("cache", None),
            request=ChatRequest(messages=messages or (Message(role="user", content=message),), **loaded),
        )


class ModeSchema(Schema):
    """Where a chat may be answered."""

    mode = fields.Enum(
        Mode,
        by_value=Text,
        load_default=Mode.AUTO,
        metadata={"description": "auto prefers the local GPU, gpu never leaves the house, api is the hosted provider."},
    )


class ChatAcceptedSchema(Schema):
    """A chat was accepted."""

    job_id = fields.String(required=True)
    status = fields.String(required=True, metadata={"const": "pending"})
    idempotency_key = fields.String(required=True, allow_none=True)


class ChatResultSchema(Schema):
    """The answer. `mode` is the queue that answered; `latency_ms` is the time that the answering call took.

    Of a chat that was given another's answer it is the time that the chat itself took.
    """

    response = fields.String(required=True, allow_none=True)
    mode = fields.String(required=True, metadata={"enum": ["gpu", "api"]})
    latency_ms = fields.Float(required=True)


class ChatStatusSchema(Schema):
    """A chat's job. A completed one has its result, one that ended otherwise its error."""

    job_id = fields.String(required=True)
    status = fields.Enum(Status, by_value=fields.String, required=True)
    created_at = fields.String(required=True, metadata=TIMES)
    result = fields.Nested(ChatResultSchema, allow_none=True)
    error = fields.String()

    def dump(self, obj: Job, *, many: bool | None = None) -> Any:
        """The job as the earlier interface shows it."""
        head = {"job_id": obj.id, "status": obj.status.value, "created_at": rfc3339(obj.created_at)}
        if obj.status is Status.COMPLETED:
            return head | {"result": _result(obj)}
        if obj.status.is_final:
            return head | {"error": obj.error.message if obj.error else f"the job was {obj.status.value}"}
        return head | {"result": None}


def _result(job: Job) -> dict[str, Any]:
    said = job.result or {}
    response = said.get("content") or said.get("refusal", said.get("content"))
    queue, took_s = _answered(job)
    return {"response": response, "mode": queue.partition(".")[0], "latency_ms": round(took_s * 1000, 1)}


def _answered(job: Job) -> tuple[str, float]:
    """The queue that answered, and the seconds it took."""
    if job.saved is not None and job.finished_at:
        return str(job.saved["queue"]), (job.finished_at - job.created_at).total_seconds()
    last = job.attempts[-1]
    return str(last["queue"]), (last["ended_at"] - last["started_at"]).total_seconds()


class DeskSchema(Schema):
    """One mode: whether it is available now, who answers, with which models by default, and how many jobs wait."""

    mode = fields.Enum(Mode, by_value=fields.String, required=True)
    available = fields.Boolean(required=True)
    leaves_the_house = fields.Boolean(required=True)
    providers = fields.List(fields.String(), required=True)
    models = fields.List(fields.String(), required=True)
    waiting = fields.Integer(required=True)


class ChatInfoSchema(Schema):
    """The modes, the limits of the hosted providers, and the models that fail."""

    modes = fields.List(fields.Nested(DeskSchema), required=True)
    limits = fields.List(fields.Nested(LimitSchema), required=True)
    circuits = fields.List(fields.Nested(CircuitSchema), required=True)
