"""`/healthz` and `/readyz`: whether the process lives, and what it finds around it. Without a key."""

from __future__ import annotations

from flask.views import MethodView

from tasks import health
from web.blueprint import Blueprint
from web.schemas.health import AliveSchema, ReadySchema

blp = Blueprint("health", __name__, description="Whether the service lives, and what it finds around it")


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
    @blp.refuses(503)
    def get(self) -> health.Readiness:
        """Can jobs be accepted?

        Yes when Redis answers and has room. Workers and engines are listed with their state, but a job may wait for
        them, so they do not decide.
        """
        return health.readiness()
