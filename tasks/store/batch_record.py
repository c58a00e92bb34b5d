"""A batch's record: from the strings of a Redis hash to the value its owner sees."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tasks.domain.batch import ENDS, Batch, BatchOptions, BatchStatus, OpenAIForm
from tasks.domain.job import Status, from_ms

#: The rate is measured over the items that ended last.
RATE_OVER = 200
#: So many have to have ended before a rate means anything.
RATE_FROM = 5


def batch(batch_id: str, values: Mapping[str, str], latest_us: Sequence[float], *, now_us: float) -> Batch:
    """The batch of a record. `latest_us` are the moments at which the last items ended, the latest first."""
    error = values.get("error_code")
    # Those of an earlier round, or from before a pause, tell nothing of the rate now.
    since_us = 1000 * max(float(values.get("in_progress_at", 0)), float(values.get("resumed_at", 0)))
    latest_us = [at_us for at_us in latest_us if at_us >= since_us]
    options = cast(dict[str, Any], json.loads(values["options"]))
    return Batch(
        id=batch_id,
        owner=values["owner"],
        status=BatchStatus(values["status"]),
        is_paused="paused" in values and values["status"] == BatchStatus.IN_PROGRESS,
        created_at=from_ms(values["created_at"]),  # type: ignore[arg-type]
        in_progress_at=from_ms(values.get("in_progress_at")),
        finished_at=from_ms(values.get("finished_at")),
        expires_at=from_ms(values["expires_at"]),  # type: ignore[arg-type]
        total=int(values["total"]),
        lines=int(values["lines"]),
        counts={end.value: _ended(values, end) for end in ENDS} | {"invalid": int(values["invalid"])},
        cached=int(values.get("cached", 0)),
        coalesced=int(values.get("coalesced", 0)),
        is_simulated="simulated" in values,
        queued={name[7:]: int(n) for name, n in values.items() if name.startswith("queued ") and n != "0"},
        usage={name[5:]: int(n) for name, n in values.items() if name.startswith("used ")},
        metadata=json.loads(values["metadata"]),
        round=int(values["round"]),
        settled_per_s=rate(latest_us, now_us),
        tokens_before=int(values.get("tokens_before", 0)),
        as_of=from_ms(now_us / 1000),  # type: ignore[arg-type]
        error={"code": error, "message": values["error_message"]} if error else None,
        on_complete=_last(values) if options["on_complete"] is not None else None,
        cancelling_at=from_ms(values.get("cancelling_at")),
        openai=OpenAIForm(**options["openai"]) if "openai" in options else None,
    )


def accepted(
    batch_id: str, owner: str, options: BatchOptions, *, total: int, lines: int, created_ms: int, expires_in_s: float
) -> Batch:
    """The batch of a record just written, as `batch` would read it."""
    made = {
        "owner": owner,
        "status": BatchStatus.VALIDATING.value,
        "created_at": str(created_ms),
        "expires_at": str(created_ms + int(expires_in_s * 1000)),
        "total": str(total),
        "lines": str(lines),
        "invalid": "0",
        "round": "1",
        "metadata": json.dumps(dict(options.metadata)),
        "options": json.dumps(options.to_json()),
    }
    return batch(batch_id, made, [], now_us=created_ms * 1000)


def _ended(values: Mapping[str, str], end: Status) -> int:
    """How many items have ended so. What has no answer is open from the moment on at which a further round begins,
    though it is put back by and by."""
    is_put_back = values["round"] != "1" and values["status"] == BatchStatus.VALIDATING and end is not Status.COMPLETED
    return 0 if is_put_back else int(values.get(end.value, 0))


def rate(latest_us: Sequence[float], now_us: float) -> float | None:
    """Items per second over the last ones to end; falls while none does. None when too few have.

    A clock that was set back tells nothing either.
    """
    if len(latest_us) < RATE_FROM or now_us <= latest_us[-1]:
        return None
    return (len(latest_us) - 1) * 1e6 / (now_us - latest_us[-1])


def _last(values: Mapping[str, str]) -> dict[str, Any]:
    error = values.get("last_error")
    return {"job_id": values.get("last_job") or None, "error": json.loads(error or "null")}
