"""`/chat`: an earlier interface, kept for its clients, over the same jobs."""

from __future__ import annotations

import dataclasses
from typing import Any

from flask import request
from flask.views import MethodView

from tasks import dispatch, limits, modes, settings
from tasks.domain.job import Job, Mode
from tasks.schemas.submission import Asked
from web import idempotency
from web.auth import auth, owner
from web.blueprint import Blueprint, described
from web.body import without_query
from web.idempotency import REPLAYED
from web.schemas.chat import EXAMPLE, ChatAcceptedSchema, ChatInfoSchema, ChatSchema, ChatStatusSchema, ModeSchema

blp = Blueprint(
    "chat", __name__, url_prefix="/chat", description="Chats, by an earlier interface that is kept for its clients"
)


@blp.route("")
class Chats(MethodView):
    """Chats."""

    decorators = [auth.login_required]

    @blp.arguments(ModeSchema, location="query")
    @blp.arguments(ChatSchema, example=EXAMPLE)
    @blp.response(202, ChatAcceptedSchema, description="Accepted", headers=described("Location", REPLAYED))
    @blp.refuses(400, 401, 404, 413, 415, 422, 503)
    @blp.doc(parameters=[idempotency.PARAMETER])
    def post(self, where: dict[str, Mode], asked: Asked) -> tuple[dict[str, Any], int, dict[str, str]]:
        """Submit a chat"""
        key = idempotency.key_of(request, asked.idempotency_key)
        placed = dataclasses.replace(asked, mode=where["mode"])
        default_s = settings.get().expires_in_s
        job, replayed = dispatch.submit(placed.submission(owner=owner(), key=key, default_expires_in_s=default_s))
        headers = {"Location": f"/chat/status/{job.id}"} | ({REPLAYED: "true"} if replayed else {})
        return {"job_id": job.id, "status": "pending", "idempotency_key": key}, 202, headers


@blp.route("/status/<job_id>")
class ChatStatus(MethodView):
    """One chat."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, ChatStatusSchema)
    @blp.refuses(401, 404, 422, 503)
    def get(self, job_id: str) -> Job:
        """Ask after a chat"""
        return dispatch.find(job_id, owner())


@blp.route("/info")
class ChatInfo(MethodView):
    """The modes."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, ChatInfoSchema)
    @blp.refuses(401, 422, 503)
    def get(self) -> dict[str, Any]:
        """Which modes are there, and what is left of the limits?

        Only a mode with `leaves_the_house` may send prompts to somebody else's service.
        """
        return {"modes": modes.desks(), "limits": limits.report(), "circuits": limits.broken()}
