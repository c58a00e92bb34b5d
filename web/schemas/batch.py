"""What a client says of a batch as a whole, and what it is told of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from tasks.domain.batch import Batch, BatchOptions, BatchStatus
from tasks.domain.job import LONGEST_EXPIRES_IN_S, LONGEST_KEY, Job, Mode, Status
from tasks.schemas.fields import Pairs, Real, Text, Whole
from tasks.schemas.submission import LONGEST_CUSTOM_ID, LONGEST_NAME, SubmissionSchema
from web.schemas.job import RESULT, TIMES, JobSchema, UsageSchema, rfc3339
from web.schemas.job import shown as job_shown

CONTINUE, STOP = "continue", "stop"
THRESHOLD = {
    "type": "object",
    "required": ["threshold"],
    "additionalProperties": False,
    "properties": {"threshold": {"type": "number", "minimum": 0, "maximum": 1}},
}
#: What each item says itself, or the batch as a whole.
NO_DEFAULTS = ("idempotency_key", "expires_in_s", "custom_id")
EXAMPLE = {
    "items": [
        {"custom_id": "greeting", "prompt": "Say hello in one word."},
        {"custom_id": "farewell", "prompt": "Say goodbye in one word."},
    ],
    "defaults": {"max_tokens": 64},
}


class BatchOptionsSchema(Schema):
    """A batch as a whole: everything beside its items."""

    defaults = fields.Dict(
        metadata={
            "description": "Fields of a job that items leave out.",
            "propertyNames": {"not": {"enum": [*NO_DEFAULTS]}},
        }
    )
    mode = fields.Enum(Mode, by_value=Text, metadata={"description": "The same as `mode` in defaults."})
    on_invalid = fields.String(
        validate=validate.OneOf(["reject", "skip"]),
        load_default="reject",
        metadata={"description": "reject: all items or none. skip: those that are valid."},
    )
    on_item_failure = fields.Raw(
        load_default=CONTINUE,
        metadata={
            "description": 'continue, stop, or {"threshold": 0.1}: the share of items that may fail.',
            "oneOf": [{"enum": [CONTINUE, STOP]}, THRESHOLD],
        },
    )
    max_attempts = Whole(validate=validate.Range(1, 100))
    expires_in_s = Real(
        validate=validate.Range(0, LONGEST_EXPIRES_IN_S, min_inclusive=False), metadata={"exclusiveMinimum": 0}
    )
    on_complete = fields.Dict(
        metadata={
            "description": "A job that is run once at the end. In its texts {{#results}}{{custom_id}}: {{content}}"
            "{{/results}} is repeated for each item; {{total}}, {{completed}} and {{failed}} are counts.",
            "allOf": [{"$ref": "#/components/schemas/LastJob"}],
        }
    )
    metadata = Pairs(most=16, longest_key=LONGEST_NAME, longest_value=512, load_default=dict)
    idempotency_key = Text(validate=validate.Length(1, LONGEST_KEY))

    @post_load
    def build(self, loaded: dict[str, Any], **_: Any) -> BatchOptions:
        """The options as a value."""
        defaults = dict(loaded.pop("defaults", {}))
        if "mode" in loaded:
            defaults["mode"] = loaded.pop("mode").value
        for name in NO_DEFAULTS:
            if name in defaults:
                raise ValidationError("Is not a default of items.", f"defaults.{name}")
        _check_last(loaded.get("on_complete"), defaults.get("mode"))
        return BatchOptions(
            defaults=defaults,
            stop_after=_share(loaded.pop("on_item_failure")),
            max_tries=loaded.pop("max_attempts", None),
            **loaded,
        )


def _check_last(said: dict[str, Any] | None, mode: Any) -> None:
    """That it will be a job once it is filled in, as far as can be told now."""
    if said is None:
        return
    try:
        _job.load(said if mode is None else {"mode": mode, **said})
    except ValidationError as error:
        raise ValidationError({"on_complete": error.messages}) from error


class LastJobSchema(SubmissionSchema):
    """The job over a batch's results."""

    class Meta:
        """The batch has a key."""

        exclude = ("idempotency_key",)


_job = LastJobSchema()


class BatchItemSchema(SubmissionSchema):
    """A job of a batch."""

    class Meta:
        """The batch has a key and a deadline."""

        exclude = ("idempotency_key", "expires_in_s")

    custom_id = Text(required=True, validate=validate.Length(1, LONGEST_CUSTOM_ID))


class BatchSubmissionSchema(BatchOptionsSchema):
    """A batch with its items, for the documentation: they are read as they come, by tasks/batches/reading.py."""

    items = fields.List(fields.Nested(BatchItemSchema), required=True, validate=validate.Length(1))


def _share(said: Any) -> float | None:
    if said == CONTINUE:
        return None
    if said == STOP:
        return 0.0
    share = said.get("threshold") if isinstance(said, dict) and set(said) == {"threshold"} else None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValidationError('Must be continue, stop, or {"threshold": 0 to 1}.', "on_item_failure")
    return float(share)


class BatchErrorSchema(Schema):
    """Why a batch did not complete."""

    code = fields.String(required=True)
    message = fields.String(required=True)


class LastSchema(Schema):
    """The job over the results."""

    job_id = fields.String(required=True, allow_none=True)
    status = fields.String(required=True, allow_none=True)
    result = fields.Raw(required=True, metadata=RESULT)
    error = fields.Nested(BatchErrorSchema, required=True, allow_none=True)


class BatchSchema(Schema):
    """A batch. The counts are over all items, so their sum with `pending` is `total`."""

    id = fields.String(required=True)
    object = fields.String(required=True, metadata={"const": "batch"})
    status = fields.Enum(BatchStatus, by_value=True, required=True)
    paused = fields.Boolean(required=True)
    created_at = fields.String(required=True, metadata=TIMES)
    in_progress_at = fields.String(required=True, allow_none=True, metadata=TIMES)
    finished_at = fields.String(required=True, allow_none=True, metadata=TIMES)
    expires_at = fields.String(required=True, metadata=TIMES)
    total = fields.Integer(required=True)
    counts = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    progress = fields.Float(required=True, metadata={"description": "The share of items that have ended."})
    eta = fields.String(
        required=True,
        allow_none=True,
        metadata=TIMES | {"description": "When the last item will have ended at the present rate; null: `estimating`."},
    )
    estimating = fields.Boolean(required=True)
    usage = fields.Nested(UsageSchema, required=True, allow_none=True)
    tokens_per_s = fields.Float(required=True, allow_none=True)
    cached = fields.Integer(required=True, metadata={"description": "Items whose answer was there."})
    coalesced = fields.Integer(required=True, metadata={"description": "Items that shared another's answer."})
    queues = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    round = fields.Integer(required=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    error = fields.Nested(BatchErrorSchema, required=True, allow_none=True)
    on_complete = fields.Nested(LastSchema, required=True, allow_none=True)
    links = fields.Dict(keys=fields.String(), values=fields.String(), required=True)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """See `shown`."""
        return shown(obj)


def shown(batch: Batch) -> dict[str, Any]:
    """A batch as a client sees it."""
    own = f"/batches/{batch.id}"
    open_items = batch.total - batch.settled
    return {
        "id": batch.id,
        "object": "batch",
        "status": batch.status.value,
        "paused": batch.is_paused,
        "created_at": rfc3339(batch.created_at),
        "in_progress_at": rfc3339(batch.in_progress_at),
        "finished_at": rfc3339(batch.finished_at),
        "expires_at": rfc3339(batch.expires_at),
        "total": batch.total,
        "counts": {"pending": open_items, **batch.counts},
        "progress": round(batch.settled / batch.total, 4),
        "eta": rfc3339(batch.eta),
        "estimating": batch.eta is None and not batch.status.is_final,
        "usage": dict(batch.usage) or None,
        "tokens_per_s": tokens_per_s(batch),
        "cached": batch.cached,
        "coalesced": batch.coalesced,
        "queues": dict(batch.queued),
        "round": batch.round,
        "metadata": dict(batch.metadata),
        "error": batch.error,
        "on_complete": last_shown(batch.on_complete),
        "links": {"self": own, "cancel": f"{own}/cancel", "results": f"{own}/results", "errors": f"{own}/errors"},
    }


def last_shown(last: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The job over the results as a client sees it."""
    if last is None:
        return None
    said = job_shown(last["job"]) if "job" in last else {"status": None, "result": None, "error": last["error"]}
    return {"job_id": last["job_id"], **{name: said[name] for name in ("status", "result", "error")}}


def tokens_per_s(batch: Batch) -> float | None:
    """Tokens per second since its items were let go; None before."""
    if batch.in_progress_at is None or not batch.usage:
        return None
    until = batch.finished_at or datetime.now(batch.in_progress_at.tzinfo)
    return round(batch.usage.get("total_tokens", 0) / max((until - batch.in_progress_at).total_seconds(), 0.001), 1)


class BatchesSchema(Schema):
    """Which batches, and how many at once."""

    status = fields.Enum(BatchStatus, by_value=Text, load_default=None)
    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    after = Text(load_default=None, validate=validate.Length(1, 100), metadata={"description": "Start behind it."})


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some batches or items, and whether there are more."""

    found: Sequence[Any]
    has_more: bool


class BatchListSchema(Schema):
    """A page of batches, newest first."""

    object = fields.String(required=True, metadata={"const": "list"})
    data = fields.List(fields.Nested(BatchSchema), required=True)
    has_more = fields.Boolean(required=True)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """A page of batches."""
        return {"object": "list", "data": [shown(batch) for batch in obj.found], "has_more": obj.has_more}


class ItemsSchema(Schema):
    """Which items, and how many at once."""

    status = fields.Enum(Status, by_value=Text, load_default=None)
    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    after = fields.Integer(
        load_default=0, validate=validate.Range(0), metadata={"description": "Start behind the item of this line."}
    )


class ItemSchema(JobSchema):
    """A job that is an item of a batch."""

    custom_id = fields.String(required=True)
    line = fields.Integer(required=True)


class ItemListSchema(Schema):
    """A page of items, in the order of their lines."""

    object = fields.String(required=True, metadata={"const": "list"})
    data = fields.List(fields.Nested(ItemSchema), required=True)
    has_more = fields.Boolean(required=True)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """A page of items."""
        return {"object": "list", "data": [item_shown(*one) for one in obj.found], "has_more": obj.has_more}


def item_shown(custom_id: str, job: Job) -> dict[str, Any]:
    """An item as a client sees it."""
    return {"custom_id": custom_id, "line": int(job.id.rpartition("-")[2]), **job_shown(job)}
