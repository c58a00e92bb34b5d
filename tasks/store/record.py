"""A job's record: from values to the strings of a Redis hash and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar, cast

from tasks.domain.job import Job, JobError, Kind, Mode, Status, Submission, Wait, from_ms

#: What of a record its owner may see; the request and the counters are not among it.
VISIBLE = [
    "owner", "kind", "status", "mode", "model", "created_at", "started_at", "finished_at", "expires_at", "result",
    "usage", "error_code", "error_message", "attempts", "metadata", "phase", "reason", "until",
    "images", "cached", "coalesced_with", "saved",
]  # fmt: skip

#: Where a record does not say when it began.
EPOCH = datetime.fromtimestamp(0, UTC)
DEFAULT_MODEL = "default"
E = TypeVar("E", bound=StrEnum)
#: Records of earlier versions may have NaN and infinities in them, which no strict reader takes.
_read = json.JSONDecoder(parse_constant=lambda _: None).decode


def fields(
    asked: Submission,
    request: Mapping[str, Any],
    *,
    queue: str,
    priority: int,
    target: str,
    max_tries: int,
    tokens: int,
) -> dict[str, str]:
    """The record of a new job. `target` is the model's id at whoever will answer.

    `request` is the request as JSON values, `tokens` those of its prompt, estimated.
    """
    images = {"images": json.dumps(asked.images)} if asked.images else {}
    return images | {
        "owner": asked.owner,
        "kind": asked.kind.value,
        "mode": asked.mode.value,
        "model": asked.model,
        "request": json.dumps(request, ensure_ascii=False),
        "metadata": json.dumps(dict(asked.metadata), ensure_ascii=False),
        "queue": queue,
        "priority": str(priority),
        "target": target,
        "max_tries": str(max_tries),
        "prompt_tokens": str(tokens),
        "most_tokens": str(request.get("max_tokens") or 0),
    }


def _attempt(entry: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: from_ms(entry.get(name)) for name in ("started_at", "ended_at")}
    return {"outcome": None, "reason": None, **entry, **times}


def _wait(values: Mapping[str, str | None]) -> Wait | None:
    if values["status"] != Status.PENDING:
        return None
    named = {"queued": "queue", "parked": values["reason"], "following": "coalesced", "shard": "queue"}
    reason = named.get(values["phase"] or "") or "backoff"
    until = from_ms(values["until"])
    # What it was told when it began to wait: what it waits for may have been put off since.
    return Wait(reason=reason, until=until if until is not None and until > datetime.now(UTC) else None)


def _word(kinds: type[E], text: str | None, default: E) -> E | str:
    """A word of ours; as it is written where it is a newer version's, and the default where it is missing."""
    return default if not text else kinds(text) if text in [*kinds] else text


def _json(text: str | None) -> Any:
    """What a field holds; None where it is missing or holds nothing that can be read."""
    try:
        return _read(text) if text else None
    except ValueError:
        return None


def job(job_id: str, values: Mapping[str, str | None]) -> Job | None:
    """The job of a record's VISIBLE fields; None when there is no record. What is missing has its default."""
    if values["status"] is None:
        return None
    sure = cast(Mapping[str, str], values)
    return Job(
        id=job_id,
        owner=sure["owner"],
        kind=_word(Kind, values["kind"], Kind.CHAT),
        status=Status(sure["status"]),
        mode=_word(Mode, values["mode"], Mode.AUTO),
        model=values["model"] or DEFAULT_MODEL,
        created_at=from_ms(values["created_at"]) or EPOCH,
        started_at=from_ms(values["started_at"]),
        finished_at=from_ms(values["finished_at"]),
        expires_at=from_ms(values["expires_at"]) or EPOCH,
        result=_json(values["result"]),
        usage=_json(values["usage"]),
        error=JobError(code=sure["error_code"], message=values["error_message"] or "")
        if values["error_code"]
        else None,
        attempts=tuple(_attempt(entry) for entry in _json(values["attempts"]) or []),
        metadata=_json(values["metadata"]) or {},
        waiting_on=_wait(values),
        images=tuple(_json(values["images"]) or []),
        cached=values["cached"] is not None,
        coalesced_with=values["coalesced_with"],
        saved=_json(values["saved"]),
    )


def accepted(job_id: str, asked: Submission, created_ms: int, expires_ms: int) -> Job:
    """The job of a record just written, as `job` would read it: one look at Redis saved on every submission."""
    made = {
        "owner": asked.owner,
        "kind": asked.kind.value,
        "status": Status.PENDING.value,
        "mode": asked.mode.value,
        "model": asked.model,
        "created_at": str(created_ms),
        "expires_at": str(expires_ms),
        "metadata": json.dumps(dict(asked.metadata)),
        "phase": "queued",
        "images": json.dumps(asked.images),
    }
    found = job(job_id, dict.fromkeys(VISIBLE) | made)
    assert found is not None
    return found
