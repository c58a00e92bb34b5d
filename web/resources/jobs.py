"""`/jobs`: submit, ask, list, cancel, erase."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from flask import Response, request
from flask.views import MethodView

from tasks import dispatch, settings
from tasks.domain.job import Job
from tasks.schemas.submission import EXAMPLE, Asked, SubmissionSchema
from web import idempotency, prefer
from web.auth import auth, owner
from web.blueprint import PREFER, Blueprint, described
from web.body import without_query
from web.idempotency import REPLAYED
from web.prefer import APPLIED
from web.schemas.job import JobListSchema, JobSchema
from web.schemas.listing import Listing, ListingSchema
from web.schemas.page import Page

blp = Blueprint("jobs", __name__, url_prefix="/jobs", description="Jobs: one question each, answered in its time")

#: How soon to ask again for a job that could end any moment, and the longest a client is sent away for.
ASK_AGAIN_S, ASK_AT_LATEST_S = 1, 60

Answer = tuple[Job, int, dict[str, str]]


@blp.route("")
class Jobs(MethodView):
    """All of an owner's jobs."""

    decorators = [auth.login_required]

    @blp.arguments(SubmissionSchema, example=EXAMPLE)
    @blp.response(202, JobSchema, description="Accepted", headers=described("Location", "Retry-After", REPLAYED))
    @blp.alt_response(
        200,
        schema=JobSchema,
        description="Ended within `Prefer: wait`",
        headers=described("Location", APPLIED, REPLAYED),
        success=True,
    )
    @blp.refuses(400, 401, 404, 413, 415, 422, 503)
    @blp.doc(parameters=[PREFER, idempotency.PARAMETER])
    def post(self, asked: Asked) -> Answer:
        """Submit a job"""
        key = idempotency.key_of(request, asked.idempotency_key)
        default_s = settings.get().expires_in_s
        job, replayed = dispatch.submit(asked.submission(owner=owner(), key=key, default_expires_in_s=default_s))
        job, applied = prefer.wait_for_accepted(job, prefer.wait_s(request.headers))
        headers = {"Location": f"/jobs/{job.id}"} | applied | ask_again(job)
        if replayed:
            headers[REPLAYED] = "true"
        return job, 200 if applied else 202, headers

    @blp.arguments(ListingSchema, location="query")
    @blp.response(200, JobListSchema)
    @blp.refuses(401, 404, 422, 503)
    def get(self, asked: Listing) -> Page:
        """List jobs, newest first"""
        jobs, has_more = dispatch.list_jobs(owner(), **vars(asked))
        return Page(found=jobs, has_more=has_more)


@blp.route("/<job_id>")
class JobById(MethodView):
    """One job."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, JobSchema, headers=described("Retry-After", APPLIED))
    @blp.refuses(401, 404, 422, 503)
    @blp.doc(parameters=[PREFER])
    def get(self, job_id: str) -> Answer:
        """Ask after a job"""
        job = dispatch.find(job_id, owner())
        job, applied = prefer.wait(job, prefer.wait_s(request.headers))
        return job, 200, applied | ask_again(job)

    @blp.response(204)
    @blp.refuses(401, 404, 422, 503)
    def delete(self, job_id: str) -> Response:
        """Erase a job

        Cancels it first if it is not over. Repeated within an hour it changes nothing and is answered alike.
        """
        dispatch.erase(job_id, owner())
        return nothing()


@blp.route("/<job_id>/cancel")
class Cancellation(MethodView):
    """The end of a job before its time."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, JobSchema)
    @blp.refuses(401, 404, 422, 503)
    def post(self, job_id: str) -> Job:
        """Cancel a job

        A running call is cut. A job that is over stays as it is.
        """
        return dispatch.cancel(job_id, owner())


def nothing() -> Response:
    """204: there is no content, so it has no type."""
    answer = Response(status=204)
    del answer.headers["Content-Type"]
    return answer


def ask_again(job: Job) -> dict[str, str]:
    """`Retry-After` of a job that is not over: a second, or until the moment it waits for."""
    if job.status.is_final:
        return {}
    left_s = 0.0
    if job.waiting_on and job.waiting_on.until:
        left_s = (job.waiting_on.until - datetime.now(UTC)).total_seconds()
    return {"Retry-After": str(min(max(ASK_AGAIN_S, math.ceil(left_s)), ASK_AT_LATEST_S))}
