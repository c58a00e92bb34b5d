"""`POST …/chat/completions`, in every dialect."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiohttp import web

from tasks.providers.sandbox import nvcf, simulation, stream
from tasks.providers.sandbox.assets import REFERENCES
from tasks.providers.sandbox.behaviour import Behaviour, Ending, UnknownWord, of_model
from tasks.providers.sandbox.budget import TooLarge, Unsatisfiable
from tasks.providers.sandbox.calls import Entry
from tasks.providers.sandbox.dialects import CONTEXT, Dialect, Refusal
from tasks.providers.sandbox.pictures import NIM_BASE64_BELOW, pictures_in
from tasks.providers.sandbox.state import State

#: The pause between two bytes of a drip: shorter than any client's read timeout.
DRIP_S = 0.02
#: A reason may repeat a pattern or a reference of the schema, which may be long.
REASON_CHARS = 200


class Refused(Exception):  # an answer, not an error of ours
    """The call ends with an HTTP error."""

    def __init__(self, status: int, body: Refusal, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class Chat:
    """The endpoint of one dialect."""

    def __init__(self, state: State, dialect: Dialect) -> None:
        self._state = state
        self._dialect = dialect

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer one call, and log how it began and ended."""
        calls = self._state.calls
        request_id = request.headers.get("X-Request-Id", "")
        entry = calls.arrived(dialect=self._dialect.name, path=request.path, request_id=request_id)
        try:
            return await self._answer(request, entry)
        except Refused as refused:
            calls.ended(entry, "refused", refused.status)
            content_type, text = refused.body
            return web.Response(status=refused.status, text=text, content_type=content_type, headers=refused.headers)
        except (asyncio.CancelledError, ConnectionError):
            if entry.outcome == "in_flight":
                calls.ended(entry, "dropped" if self._state.stopping else "aborted", None)
            raise

    async def _answer(self, request: web.Request, entry: Entry) -> web.StreamResponse:
        body = self._admit(await request.read(), entry)
        self._state.calls.announce(entry)
        if not self._dialect.admits(request.headers.get("Authorization", "")):
            raise Refused(401, self._dialect.refusal(401, model=entry.model))
        if body is None:
            status = 422 if self._dialect.name == "nim" else 400
            raise Refused(status, self._dialect.refusal(status, model=entry.model))
        entry.prompt_tokens = simulation.count_tokens(body["messages"])
        self._look_at_images(body, entry, request.headers.get(REFERENCES, ""))
        behaviour = self._behaviour(entry)
        if behaviour.ending in (Ending.NVCF_202, Ending.NVCF_302):
            return self._queue(body, behaviour, entry)
        await asyncio.sleep(behaviour.latency_ms / 1000)
        return await self._end(request, body, behaviour, entry)

    def _admit(self, raw: bytes, entry: Entry) -> dict[str, Any] | None:
        """The body if it is a chat completion request; notes its model."""
        try:
            body = json.loads(raw)
        except ValueError:
            return None
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            return None
        entry.model, entry.stream = body["model"], body.get("stream") is True
        return body if isinstance(body.get("messages"), list) and body["messages"] else None

    def _has(self, ids: tuple[str, ...], references: str) -> bool:
        """Whether all of these assets were uploaded, and named in the call's header."""
        known = self._state.assets if self._dialect.name == "nim" else {}
        named = {name.strip() for name in references.split(",")}
        return all(ident in named and ident in known and known[ident].size_bytes for ident in ids)

    def _look_at_images(self, body: dict[str, Any], entry: Entry, references: str) -> None:
        """Count them. Raises Refused for what is none, and in NVIDIA's dialect for one that is too long inline."""
        seen = pictures_in(body["messages"])
        entry.images, entry.image_base64 = seen.count, seen.longest
        if seen.is_broken or not self._has(seen.assets, references):
            raise Refused(400, self._dialect.refusal(400, model=entry.model))
        if self._dialect.name == "nim" and seen.longest >= NIM_BASE64_BELOW:
            raise Refused(413, self._dialect.refusal(413, model=entry.model))

    def _behaviour(self, entry: Entry) -> Behaviour:
        """What this call meets. Raises Refused for an unknown model or an exceeded limit."""
        control, now = self._state.controls[self._dialect.name], time.monotonic()
        try:
            behaviour = of_model(entry.model)
        except UnknownWord:
            raise Refused(404, self._dialect.refusal(404, model=entry.model)) from None
        if behaviour.ending in (Ending.NVCF_202, Ending.NVCF_302) and self._dialect.name != "nim":
            raise Refused(404, self._dialect.refusal(404, model=entry.model))
        if wait_s := control.wait_s(now, entry.prompt_tokens):
            entry.limited = True
            headers = self._dialect.limit_headers(wait_s, control.rpm or 0)
            raise Refused(429, self._dialect.refusal(429, model=entry.model), headers)
        return control.applied_to(self._state.failing(behaviour, job_id=entry.job_id, model=entry.model), now)

    async def _end(
        self, request: web.Request, body: dict[str, Any], behaviour: Behaviour, entry: Entry
    ) -> web.StreamResponse:
        self._raise_if_refused(behaviour, entry)
        if behaviour.ending is Ending.HANG:
            await asyncio.Event().wait()
        if behaviour.ending is Ending.DRIP:
            return await self._drip(request)
        if behaviour.ending is Ending.DROP:
            return self._drop(request, entry)
        if behaviour.inner_status and not entry.stream:
            self._state.calls.ended(entry, "answered", 200)
            return web.json_response(self._dialect.inner_error(behaviour.inner_status, model=entry.model))
        answer = self._simulated(body, behaviour, entry)
        if entry.stream:
            return await self._stream(request, answer, behaviour, entry)
        data = json.dumps(self._envelope(answer, behaviour, entry)).encode()
        if behaviour.ending is Ending.CUT:
            return await self._cut(request, data, entry)
        if behaviour.ending is Ending.BROKEN_JSON:
            data = data[: len(data) // 2]
        self._book(answer, entry)
        self._state.calls.ended(entry, "answered", 200)
        return web.Response(body=data, content_type="application/json")

    def _simulated(self, body: dict[str, Any], behaviour: Behaviour, entry: Entry) -> simulation.Simulated:
        """The answer. Raises Refused for a schema that nothing satisfies, or that is not simulated."""
        try:
            return simulation.simulate(body, behaviour)
        except (Unsatisfiable, TooLarge) as error:
            raise Refused(400, self._dialect.unfit(f"simulated refusal: {str(error)[:REASON_CHARS]}")) from None

    def _raise_if_refused(self, behaviour: Behaviour, entry: Entry) -> None:
        if behaviour.ending is Ending.TOO_LONG:
            raise Refused(400, self._dialect.too_long(CONTEXT + entry.prompt_tokens))
        if behaviour.status:
            after = behaviour.retry_after_s
            headers = {} if after is None else {"Retry-After": f"{after:g}"}
            raise Refused(behaviour.status, self._dialect.refusal(behaviour.status, model=entry.model), headers)

    def _envelope(self, answer: simulation.Simulated, behaviour: Behaviour, entry: Entry) -> dict[str, Any]:
        ident = self._dialect.id_prefix + (entry.request_id or str(entry.seq))
        no_choice = behaviour.ending is Ending.NO_CHOICE
        return simulation.envelope(answer, ident=ident, model=entry.model, no_choice=no_choice)

    def _book(self, answer: simulation.Simulated, entry: Entry) -> None:
        entry.completion_tokens = answer.completion_tokens
        spent = self._state.controls[self._dialect.name].spent
        spent.book(time.monotonic(), answer.prompt_tokens + answer.completion_tokens)

    def _queue(self, body: dict[str, Any], behaviour: Behaviour, entry: Entry) -> web.Response:
        answer = self._simulated(body, behaviour, entry)
        self._book(answer, entry)
        self._state.calls.ended(entry, "queued", 202)
        return nvcf.accept(self._state, self._envelope(answer, behaviour, entry), behaviour)

    def _drop(self, request: web.Request, entry: Entry) -> web.Response:
        self._state.calls.ended(entry, "dropped", None)
        if request.transport is not None:
            request.transport.close()
        return web.Response()

    async def _cut(self, request: web.Request, data: bytes, entry: Entry) -> web.StreamResponse:
        self._state.calls.ended(entry, "dropped", 200)
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(DRIP_S)

    async def _stream(
        self, request: web.Request, answer: simulation.Simulated, behaviour: Behaviour, entry: Entry
    ) -> web.StreamResponse:
        broken = behaviour.ending in (Ending.CUT, Ending.BROKEN_JSON)
        envelope = self._envelope(answer, behaviour, entry)
        inner = behaviour.inner_status
        error = self._dialect.inner_error(inner, model=entry.model) if inner else None
        chunks = stream.chunks(envelope, answer, error=error)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for n, chunk in enumerate(chunks):
            if broken and n > 0:
                return self._drop_stream(request, response, entry)
            await response.write(f"data: {chunk}\n\n".encode())
        self._book(answer, entry)
        self._state.calls.ended(entry, "answered", 200)
        return response

    def _drop_stream(self, request: web.Request, response: web.StreamResponse, entry: Entry) -> web.StreamResponse:
        self._drop(request, entry)
        return response
