"""The door for jobs: submit, find, list, cancel, erase, wait. `web` enters here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from tasks import catalog, intake, publish, questions, quotas, routing, settings
from tasks.domain import estimate
from tasks.domain.errors import InvalidRequest, JobNotFound, Unavailable
from tasks.domain.job import LONGEST_EXPIRES_IN_S, Job, Priority, Status, Submission
from tasks.needs import Needs
from tasks.routing import Route
from tasks.store import capacity, durability, events, fitness, fleet, jobs, places, record
from tasks.store.message import Message
from tasks.store.new_job import NewJob
from tasks.store.places import Place

#: What a record takes in Redis beside its texts, roughly: fields, indexes, the message and its copies.
RECORD_BYTES = 2048


def submit(asked: Submission) -> tuple[Job, bool]:
    """Accept a job and send its message: the job, and whether it answers an earlier request with the same key.

    Raises UnknownModel, ModelGone, IdempotencyMismatch, InvalidRequest for what no model here can do, an image
    that cannot be taken, or more than a provider takes in a minute, and Unavailable when nobody can take it or Redis
    is away or full.
    """
    if (replayed := _replayed(asked)) is not None:
        return replayed, True
    route = routing.route(asked.mode, asked.model, fleet.default(), Needs.of(asked.request))
    asked, fields = written(asked, route)
    fitness.default().ensure()
    if settings.get().durable_accept:
        durability.default().ensure()
    answer_bytes = int(fields["answer_bytes"])
    size_bytes = RECORD_BYTES + sum(len(value) for value in fields.values()) + answer_bytes
    capacity.default().reserve(size_bytes, later_bytes=answer_bytes)
    first = Message(job_id=f"job_{secrets.token_hex(16)}", epoch=0, queue=route.queue, priority=Priority.INTERACTIVE)
    accepted = jobs.default().accept(_new_job(asked, route, fields, first))
    if accepted.replayed:
        return find(accepted.job_id, asked.owner), True
    if accepted.shares:
        publish.send(accepted.lifted)
        return _sharing(accepted.job_id, asked), False
    if accepted.unsent:
        publish.unsent(first, accepted.unsent)
    return record.accepted(accepted.job_id, asked, accepted.created_ms, accepted.expires_ms), False


def _sharing(job_id: str, asked: Submission) -> Job:
    """A job that has another's answer or waits for it; as it was accepted where it cannot be read now."""
    try:
        return find(job_id, asked.owner)
    except (JobNotFound, Unavailable):
        now_ms = int(time.time() * 1000)
        return record.accepted(job_id, asked, now_ms, now_ms + int(asked.expires_in_s * 1000))


def written(
    asked: Submission, route: Route, *, priority: Priority = Priority.INTERACTIVE, max_tries: int | None = None
) -> tuple[Submission, dict[str, str]]:
    """The submission with its images stored, and the record of its job.

    Raises InvalidRequest and Unavailable as `submit` does.
    """
    request = asked.request.to_json()
    # Estimated once: what an image costs does not depend on where it is.
    tokens = estimate.prompt_tokens(request)
    further = _check_size(route, request, tokens)
    if intake.has_images(asked):
        asked = intake.take_in(asked)
        request = asked.request.to_json()
    place = {"queue": route.queue, "target": route.target}
    here = settings.get()
    patience_s = here.auto_wait_s if route.answered_by is None else None
    fields = places.fields([_place(route), *further], patience_s=patience_s)
    tries = max_tries or here.max_tries
    fields |= record.fields(asked, request, priority=priority, max_tries=tries, tokens=tokens, **place)
    known = catalog.known_to(route.provider, route.model) or catalog.find(asked.model)
    dimensions = known.dimensions if known else None
    room = estimate.answer_bytes(request, most=here.answer_max_bytes, dimensions=dimensions)
    return asked, fields | {"answer_bytes": str(room)}


def _new_job(asked: Submission, route: Route, fields: dict[str, str], first: Message) -> NewJob:
    return NewJob(
        job_id=first.job_id,
        owner=asked.owner,
        idempotency_key=asked.idempotency_key,
        fingerprint=asked.fingerprint,
        expires_in_s=asked.expires_in_s,
        # Nothing older can still be there.
        list_age_s=LONGEST_EXPIRES_IN_S + settings.get().job_ttl_s,
        fields=fields,
        message=publish.encode(first),
        answered_by=route.answered_by,
        question=questions.of(asked, fields["request"], route),
    )


def _replayed(asked: Submission) -> Job | None:
    """The job that this key was used for. Looked up before all else: its worker, model or image may be gone.

    Raises IdempotencyMismatch.
    """
    if not asked.idempotency_key:
        return None
    job_id = jobs.default().accepted_before(asked.owner, asked.idempotency_key, asked.fingerprint)
    return jobs.default().find(job_id, asked.owner) if job_id else None


def _check_size(route: Route, request: Mapping[str, Any], prompt_tokens: int) -> list[Place]:
    """The further places that it is not too large for. Raises InvalidRequest when it is for the first."""
    if not quotas.default():
        return [_place(one) for one in route.further]
    check = partial(
        quotas.check,
        prompt="input" if "input" in request else "messages",
        prompt_tokens=prompt_tokens,
        most_tokens=int(request.get("max_tokens") or 0),
    )
    check(route.provider, route.model)
    found = []
    for one in route.further:
        with suppress(InvalidRequest):
            check(one.provider, one.model)
            found.append(_place(one))
    return found


def _place(route: Route) -> Place:
    return Place(route.queue, route.provider, route.target, route.model)


def find(job_id: str, owner: str) -> Job:
    """The job. Raises JobNotFound when this owner has none of that id, and Unavailable."""
    job = jobs.default().find(job_id, owner)
    if job is None:
        raise JobNotFound(f"no job {job_id}")
    return job


def wait(job_id: str, owner: str, timeout_s: float) -> Job:
    """The job as soon as it is over, or as it is after `timeout_s`. Raises JobNotFound and Unavailable."""
    found = find(job_id, owner)

    def is_over() -> bool:
        nonlocal found
        found = find(job_id, owner)
        return found.status.is_final

    if not found.status.is_final:
        events.waiters().wait(job_id, is_over, timeout_s)
    return found


def list_jobs(
    owner: str, *, status: Status | None, model: str | None, limit: int, after: str | None
) -> tuple[list[Job], bool]:
    """An owner's jobs, newest first, from behind the job `after`; and whether there are more.

    Raises JobNotFound when there is no job `after`, and Unavailable.
    """
    return jobs.default().page(owner, status=status, model=model, limit=limit, after=after)


def cancel(job_id: str, owner: str) -> Job:
    """Cancel a job unless it is over; a running call is cut. Raises JobNotFound and Unavailable."""
    if not jobs.default().cancel(job_id, owner):
        raise JobNotFound(f"no job {job_id}")
    return find(job_id, owner)


def erase(job_id: str, owner: str) -> None:
    """Erase a job's record, cancelling it first; again within an hour it changes nothing.

    Raises JobNotFound and Unavailable.
    """
    if not jobs.default().erase(job_id, owner):
        raise JobNotFound(f"no job {job_id}")
