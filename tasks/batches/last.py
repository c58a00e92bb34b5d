"""The job over a batch's results: made once, when all of its items are over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import structlog
from marshmallow import ValidationError

from tasks import dispatch, publish, routing, settings
from tasks.batches import template
from tasks.batches.template import Result, TooLong
from tasks.domain.batch import item_pages, last_id
from tasks.domain.errors import InvalidRequest, RequestError
from tasks.domain.job import LONGEST_EXPIRES_IN_S, Job, Mode, Priority, Submission
from tasks.needs import Needs
from tasks.schemas.submission import Asked, SubmissionSchema
from tasks.store import batch_work, fleet, jobs
from tasks.store.batch_parts import Plan
from tasks.store.jobs import RESULTS_AT_ONCE
from tasks.store.listing import portions
from tasks.store.message import Message
from tasks.store.new_job import NewJob
from tasks.store.steps import AT_ONCE

log = structlog.get_logger()

_schema = SubmissionSchema()


def begin(batch_id: str, plan: Plan) -> None:
    """Submit the job, or note why it cannot be. May be called again. Raises Unavailable while nobody can take it."""
    store = batch_work.default()
    try:
        job_id = _submit(batch_id, plan)
        word = store.set_last(batch_id, job_id=job_id)
        # The batch was cancelled or erased while the results were put together.
        if word == "gone":
            store.erase_last(job_id)
        elif word == "late":
            jobs.default().cancel(job_id, plan.owner)
    except RequestError as error:
        log.info("batch.last_refused", batch_id=batch_id, code=error.code)
        store.set_last(batch_id, error={"code": error.code, "message": error.message})


def _submit(batch_id: str, plan: Plan) -> str:
    asked = _asked(batch_id, plan)
    needs = Needs.of(asked.request)
    route = routing.route(asked.mode, asked.model, fleet.default(), needs, simulated=plan.may_simulate)
    asked, fields = dispatch.written(asked, route)
    first = Message(job_id=last_id(batch_id, plan.round), epoch=0, queue=route.queue, priority=Priority.INTERACTIVE)
    new = NewJob(
        job_id=first.job_id,
        owner=plan.owner,
        idempotency_key=None,
        fingerprint="",
        # It ends with its batch, at the deadline at the latest.
        expires_in_s=min(asked.expires_in_s, max(0.0, plan.left_s)),
        list_age_s=LONGEST_EXPIRES_IN_S + settings.get().job_ttl_s,
        fields={**fields, "last_of": batch_id},
        message=publish.encode(first),
        answered_by=route.answered_by,
    )
    jobs.default().accept(new)
    return first.job_id


def _asked(batch_id: str, plan: Plan) -> Submission:
    most = settings.get().max_body_bytes
    counts = {"total": sum(plan.ended.values()), **plan.ended}
    try:
        said = template.filled(plan.options["on_complete"], _results(batch_id, plan), counts, most=most)
    except TooLong as error:
        raise InvalidRequest(f"filled in, it has more than {most} characters", field="on_complete") from error
    try:
        asked: Asked = _schema.load({"mode": plan.options["defaults"].get("mode", "auto"), **said})
    except ValidationError as error:
        raise InvalidRequest("filled in, it is no job", field="on_complete") from error
    submission = asked.submission(owner=plan.owner, key=None, default_expires_in_s=settings.get().expires_in_s)
    return _kept_private(submission) if _is_private(batch_id, plan) else submission


def _kept_private(asked: Submission) -> Submission:
    """What was answered by mode=gpu must not leave the house with the job over it."""
    if asked.mode is Mode.API:
        raise InvalidRequest("items of mode=gpu must not be sent to a hosted provider", field="on_complete.mode")
    return replace(asked, mode=Mode.GPU)


def _results(batch_id: str, plan: Plan) -> Iterator[Result]:
    for ids in item_pages(batch_id, plan.lines, AT_ONCE):
        looks = [look for _, look in jobs.default().look_at(ids)]
        for some in portions(looks, limit=RESULTS_AT_ONCE):
            for custom_id, job in jobs.default().items(some, plan.owner):
                yield _result(custom_id, job)


def _is_private(batch_id: str, plan: Plan) -> bool:
    pages = item_pages(batch_id, plan.lines, AT_ONCE)
    return any(Mode.GPU in jobs.default().each(ids, "mode") for ids in pages)


def _result(custom_id: str, job: Job) -> dict[str, str]:
    said = job.result or {}
    content: Any = said.get("content") or said.get("refusal")
    error = f"{job.error.code}: {job.error.message}" if job.error else ""
    return {"custom_id": custom_id, "status": job.status.value, "content": content or "", "error": error}
