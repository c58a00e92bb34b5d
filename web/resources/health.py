"""`/healthz` and `/readyz`: whether the process lives, and what it finds around it. Without a key."""

from __future__ import annotations

from flask import Response
from flask.views import MethodView

from tasks import health
from web import errors
from web.blueprint import TOLD, WHY, Blueprint
from web.schemas.health import AliveSchema, ReadySchema, UnreadySchema

blp = Blueprint("health", __name__, description="Whether the service lives, and what it finds around it")
#: What is told beside a problem; its own `status` is the number.
REPORT = ReadySchema(exclude=("status",))


@blp.route("/healthz")
class Alive(MethodView):
    """The process."""

    @blp.response(200, AliveSchema)
    def get(self) -> dict[str, str]:
        """Does the process live?"""
        return {"status": "ok"}


@blp.route("/readyz")
class Ready(MethodView):
    """The process and what it needs."""

    @blp.response(200, ReadySchema)
    @blp.alt_response(503, schema=UnreadySchema, content_type=errors.PROBLEM, description=WHY[503], headers=TOLD[503])
    def get(self) -> health.Readiness | Response:
        """Can jobs be accepted?

        Yes when Redis answers and has room. Workers and engines are listed with their state, but a job may wait for
        them, so they do not decide. When the answer is no, they are told beside the reason, unless Redis is away.
        """
        found = health.readiness()
        return errors.unavailable(found.refusal, more=REPORT.dump(found)) if found.refusal else found
