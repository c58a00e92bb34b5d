"""A line of a batch's output file or error file, as OpenAI writes it."""

from __future__ import annotations

import json
from typing import Any

from tasks.domain.batch import InvalidItem
from tasks.domain.job import Job, JobError, Status
from tasks.schemas import openai_answers

#: What is said of items that never ran, or were cut, by how they ended.
NOT_EXECUTED = {
    Status.EXPIRED: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    Status.CANCELLED: ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}


def of_job(custom_id: str, job: Job) -> bytes:
    """The line of an item that has ended."""
    if job.status in NOT_EXECUTED:
        code, message = NOT_EXECUTED[job.status]
        return _line(job.id, custom_id, None, {"code": code, "message": message})
    if job.status is Status.COMPLETED:
        return _line(job.id, custom_id, _response(200, job.id, openai_answers.answer(job)), None)
    status, body = openai_answers.failure(job.error or JobError(code="failed", message="the job failed"))
    return _line(job.id, custom_id, _response(status, job.id, body), None)


def of_invalid(batch_id: str, item: InvalidItem) -> bytes:
    """The line of an item that could not be asked."""
    own = f"{batch_id}-{item.line}"
    status = openai_answers.status_of(item.code)
    body = openai_answers.error(item.message, code=item.code, status=status, param=item.field)
    return _line(own, item.custom_id, _response(status, own, body), None)


def _response(status: int, own: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "request_id": own, "body": body}


def _line(own: str, custom_id: str | None, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    said = {"id": f"batch_req_{own.partition('_')[2]}", "custom_id": custom_id, "response": response, "error": error}
    # In ASCII: U+2028, U+2029 and U+0085 end a line for many who read lines.
    return json.dumps(said).encode() + b"\n"
