"""Answers in OpenAI's form: from a job that has ended to a chat completion, a list of embeddings, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.domain.job import Job, JobError, Kind

#: The fingerprint of what no model has answered.
SIMULATED = "simulated"
#: The status that OpenAI would have answered with. All others are faults of a server.
STATUSES = {
    "invalid_request": 400,
    "bad_request": 400,
    "context_too_long": 400,
    "limit_exceeds_deadline": 400,
    "image_gone": 400,
    "image_unfit": 400,
    "authentication_failed": 401,
    "payment_required": 402,
    "access_denied": 403,
    "model_not_found": 404,
    "unknown_model": 404,
    "model_retired": 404,
    "rate_limited": 429,
    "provider_unavailable": 503,
    "provider_overloaded": 503,
    "engine_lost": 503,
    "engine_away": 503,
    "unavailable": 503,
    "provider_timeout": 504,
}


def error(message: str, *, code: str | None, status: int, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def status_of(code: str) -> int:
    """The HTTP status that goes with the code of a job's error."""
    return STATUSES.get(code, 500)


def failure(said: JobError) -> tuple[int, dict[str, Any]]:
    """The status and the body that say why a job failed."""
    status = status_of(said.code)
    return status, error(said.message, code=said.code, status=status)


def answer(job: Job) -> dict[str, Any]:
    """What a completed job answered. The model is the one that did."""
    assert job.result is not None
    said = _embeddings(job, job.result) if job.kind is Kind.EMBEDDING else _chat(job, job.result)
    return said | ({"system_fingerprint": SIMULATED} if job.is_simulated else {})


def _model(job: Job) -> str:
    if job.saved:
        return str(job.saved["model"])
    return str(job.attempts[-1]["model"]) if job.attempts else job.model


def _chat(job: Job, result: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": result["content"], "refusal": result.get("refusal")}
    if result.get("tool_calls"):
        message["tool_calls"] = result["tool_calls"]
    if result.get("reasoning"):
        message["reasoning_content"] = result["reasoning"]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": result["finish_reason"]}
    return {
        "id": f"chatcmpl-{job.id.removeprefix('job_')}",
        "object": "chat.completion",
        "created": int((job.finished_at or job.created_at).timestamp()),
        "model": _model(job),
        "choices": [choice],
        "usage": _chat_usage(job.usage) if job.usage else None,
    }


def _chat_usage(used: Mapping[str, int]) -> dict[str, Any]:
    said: dict[str, Any] = {name: used.get(name, 0) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    if "cached_tokens" in used:
        said["prompt_tokens_details"] = {"cached_tokens": used["cached_tokens"]}
    if "reasoning_tokens" in used:
        said["completion_tokens_details"] = {"reasoning_tokens": used["reasoning_tokens"]}
    return said


def _embeddings(job: Job, result: Mapping[str, Any]) -> dict[str, Any]:
    vectors = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(result["embeddings"])
    ]
    used = job.usage or {}
    usage = {name: used.get(name, 0) for name in ("prompt_tokens", "total_tokens")}
    return {"object": "list", "data": vectors, "model": _model(job), "usage": usage}
