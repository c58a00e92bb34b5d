"""A batch as a client sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields

from tasks.domain.batch import Batch, BatchStatus
from web.schemas.job import RESULT, UsageSchema
from web.schemas.job_shown import shown as job_shown
from web.schemas.times import TIMES, rfc3339

#: What is to be had, and can be done, under a batch.
LINKS = ("items", "results", "errors", "cancel", "pause", "resume", "retry")


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
        metadata=TIMES
        | {
            "description": "When the last item will have ended at the present rate, the deadline "
            "at the latest; null while `estimating` or `paused`, and at the end."
        },
    )
    estimating = fields.Boolean(
        required=True, metadata={"description": "Too few items have ended in this round, or since it was resumed."}
    )
    usage = fields.Nested(UsageSchema, required=True, allow_none=True)
    tokens_per_s = fields.Float(
        required=True, allow_none=True, metadata={"description": "Of this round, from its beginning on."}
    )
    cached = fields.Integer(required=True, metadata={"description": "Items whose answer was there."})
    coalesced = fields.Integer(required=True, metadata={"description": "Items that shared another's answer."})
    simulated = fields.Boolean(
        required=True, metadata={"description": "Whether the sandbox answered any of its items: no model did."}
    )
    queues = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={
            "description": "Items by the queue that answers them, or did. One that went elsewhere counts there; those "
            "that were `cached` or `coalesced` went to none."
        },
    )
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
        "estimating": batch.is_estimating,
        "usage": dict(batch.usage) or None,
        "tokens_per_s": None if batch.tokens_per_s is None else round(batch.tokens_per_s, 1),
        "cached": batch.cached,
        "coalesced": batch.coalesced,
        "simulated": batch.is_simulated,
        "queues": dict(batch.queued),
        "round": batch.round,
        "metadata": dict(batch.metadata),
        "error": batch.error,
        "on_complete": last_shown(batch.on_complete),
        "links": {"self": own, **{name: f"{own}/{name}" for name in LINKS}},
    }


def last_shown(last: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The job over the results as a client sees it."""
    if last is None:
        return None
    said = job_shown(last["job"]) if "job" in last else {"status": None, "result": None, "error": last["error"]}
    return {"job_id": last["job_id"], **{name: said[name] for name in ("status", "result", "error")}}
