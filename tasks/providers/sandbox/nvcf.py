"""NVIDIA's queued calls: 202, polling, and results behind a redirect."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from aiohttp import web

from tasks.providers.sandbox.behaviour import Behaviour, Ending
from tasks.providers.sandbox.dialects import NIM
from tasks.providers.sandbox.state import Queued, State

#: How long a status request is held when it does not say.
HOLD_S = 5.0
STATUS_PATH = "/nim/v2/nvcf/pexec/status/{id}"
RESULT_PATH = "/nim/results/{id}"


def accept(state: State, completion: dict[str, Any], behaviour: Behaviour) -> web.Response:
    """Keep an answer for later, and say under which id."""
    ident = str(uuid.uuid4())
    state.queued[ident] = Queued(
        completion=completion,
        ready_at=time.monotonic() + behaviour.latency_ms / 1000,
        redirects=behaviour.ending is Ending.NVCF_302,
    )
    return pending(ident)


def pending(ident: str) -> web.Response:
    """Not yet."""
    return web.Response(status=202, headers={"NVCF-REQID": ident, "NVCF-STATUS": "pending-evaluation"})


class Queue:
    """The status and result endpoints."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Hold the request until the answer is there, at most NVCF-POLL-SECONDS."""
        calls = self._state.calls
        request_id = request.headers.get("X-Request-Id", "")
        entry = calls.arrived(dialect="nim", path=request.path, request_id=request_id, poll=True)
        calls.announce(entry)
        try:
            response = await self._status(request)
        except asyncio.CancelledError:
            calls.ended(entry, "dropped" if self._state.stopping else "aborted", None)
            raise
        calls.ended(entry, "answered" if response.status == 200 else "queued", response.status)
        return response

    async def _status(self, request: web.Request) -> web.Response:
        queued = self._state.queued.get(request.match_info["id"])
        if not NIM().admits(request.headers.get("Authorization", "")):
            return refused(401)
        if queued is None:
            return refused(404)
        left_s = queued.ready_at - time.monotonic()
        hold_s = float(request.headers.get("NVCF-POLL-SECONDS", HOLD_S))
        await asyncio.sleep(max(0.0, min(left_s, hold_s)))
        if left_s > hold_s:
            return pending(request.match_info["id"])
        if queued.redirects:
            # Another host than the caller's, as with NVIDIA's storage: the key must not follow.
            where = RESULT_PATH.format(id=request.match_info["id"])
            return web.Response(status=302, headers={"Location": f"http://localhost:{request.url.port}{where}"})
        return web.json_response(self._state.queued.pop(request.match_info["id"]).completion)

    async def result(self, request: web.Request) -> web.Response:
        """A large result; who shows a key here has given it away, and is refused."""
        if "Authorization" in request.headers:
            return web.Response(status=403, text="<Error><Code>InvalidArgument</Code></Error>")
        queued = self._state.queued.pop(request.match_info["id"], None)
        return web.json_response(queued.completion) if queued else web.Response(status=404)


def refused(status: int) -> web.Response:
    """NVIDIA's refusal."""
    content_type, text = NIM().refusal(status, model="")
    return web.Response(status=status, text=text, content_type=content_type)
