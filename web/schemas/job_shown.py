"""A job as JSON values, at a tenth of a schema's cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks.domain.job import Job, Wait
from web.schemas.times import rfc3339


def shown(job: Job) -> dict[str, Any]:
    """The job as JSON values."""
    here = f"/jobs/{job.id}"
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "mode": job.mode,
        "model": job.model,
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339(job.started_at),
        "finished_at": rfc3339(job.finished_at),
        "expires_at": rfc3339(job.expires_at),
        "waiting_on": _wait(job.waiting_on),
        "result": job.result,
        "usage": job.usage,
        "error": {"code": job.error.code, "message": job.error.message} if job.error else None,
        "attempts": [_attempt(attempt) for attempt in job.attempts],
        "metadata": dict(job.metadata),
        "cached": job.cached,
        "simulated": job.is_simulated,
        "coalesced_with": job.coalesced_with,
        "saved": dict(job.saved) if job.saved is not None else None,
        "images": [dict(receipt) for receipt in job.images],
        "links": {"self": here, "cancel": f"{here}/cancel"},
    }


def _wait(wait: Wait | None) -> dict[str, Any] | None:
    return {"reason": wait.reason, "until": rfc3339(wait.until)} if wait else None


def _attempt(attempt: Mapping[str, Any]) -> dict[str, Any]:
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in attempt.items()}
