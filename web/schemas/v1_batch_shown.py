"""A batch as JSON values of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.batches import outputs
from tasks.domain.batch import Batch, BatchStatus, InvalidItem


@dataclass(frozen=True, kw_only=True)
class Told:
    """A batch, and what is wrong with its lines if that has ended it."""

    batch: Batch
    invalid: Sequence[InvalidItem]


def shown(told: Told) -> dict[str, Any]:
    """A batch as a client of OpenAI's API sees it."""
    batch = told.batch
    assert batch.openai is not None
    files, status = outputs.of(batch), _status(batch)
    ended = {name: _unix(batch.finished_at) if status == name else None for name in ENDED}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.openai.endpoint,
        "errors": _errors(told.invalid) if status is BatchStatus.FAILED else None,
        "input_file_id": batch.openai.input_file_id,
        "completion_window": batch.openai.window,
        "status": status.value,
        "output_file_id": files["output"].id if "output" in files else None,
        "error_file_id": files["error"].id if "error" in files else None,
        "created_at": _unix(batch.created_at),
        "in_progress_at": _unix(batch.in_progress_at),
        "expires_at": _unix(batch.expires_at),
        # Nothing is left to be done when the last request has ended.
        "finalizing_at": _unix(batch.finished_at) if status is BatchStatus.COMPLETED else None,
        "completed_at": ended[BatchStatus.COMPLETED],
        "failed_at": ended[BatchStatus.FAILED],
        "expired_at": ended[BatchStatus.EXPIRED],
        "cancelling_at": _unix(batch.cancelling_at),
        "cancelled_at": ended[BatchStatus.CANCELLED],
        "request_counts": {
            "total": batch.total,
            "completed": batch.counts["completed"],
            "failed": batch.counts["failed"] + batch.counts["invalid"],
        },
        "usage": _usage(batch),
        "metadata": dict(batch.metadata) or None,
    }


ENDED = (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)


def _status(batch: Batch) -> BatchStatus:
    """A batch that is cancelled while its lines are read is being cancelled from then on."""
    asked = batch.status is BatchStatus.VALIDATING and batch.cancelling_at is not None
    return BatchStatus.CANCELLING if asked else batch.status


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _errors(invalid: Sequence[InvalidItem]) -> dict[str, Any]:
    data = [{"code": one.code, "message": one.message, "param": one.field, "line": one.line} for one in invalid]
    return {"object": "list", "data": data}


def _usage(batch: Batch) -> dict[str, Any] | None:
    used = batch.usage
    if not used:
        return None
    return {
        "input_tokens": used.get("prompt_tokens", 0),
        "input_tokens_details": {"cached_tokens": used.get("cached_tokens", 0)},
        "output_tokens": used.get("completion_tokens", 0),
        "output_tokens_details": {"reasoning_tokens": used.get("reasoning_tokens", 0)},
        "total_tokens": used.get("total_tokens", 0),
    }
