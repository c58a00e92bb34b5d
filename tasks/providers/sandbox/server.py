"""The sandbox's HTTP server: every dialect's paths, and the control endpoint."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from tasks.providers.sandbox import assets, nvcf
from tasks.providers.sandbox.chat import Chat
from tasks.providers.sandbox.dialects import DIALECTS, Dialect
from tasks.providers.sandbox.state import State
from tasks.providers.sandbox.texts import Completions, Embeddings

#: Connections that may wait for the loop to accept them: a whole process's worth of threads arrives at once.
BACKLOG = 1024
#: Room for a request with inline images.
BODY_MAX_BYTES = 64 * 1024 * 1024
#: Calls in flight are not waited for when the server stops.
SHUTDOWN_S = 0.1


class Server:
    """A sandbox on `host`. `port` 0 takes a free one; `log` is appended to. Runs in the current event loop."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, log: Path | None = None, window_s: float = 60.0):
        self._host, self._port = host, port
        self.state = State(window_s=window_s, log=log)
        self._runner = web.AppRunner(
            application(self.state), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S
        )

    async def start(self) -> str:
        """Listen, and return the base URL. Raises OSError when the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, backlog=BACKLOG).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        """Stop listening and drop the calls in flight."""
        self.state.stopping = True
        await self._runner.cleanup()


def application(state: State) -> web.Application:
    """All routes over one state."""
    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[control_key])
    for dialect in DIALECTS:
        app.router.add_post(f"{dialect.base}/chat/completions", Chat(state, dialect).complete)
        app.router.add_post(f"{dialect.base}/embeddings", Embeddings(state, dialect).complete)
        app.router.add_post(f"{dialect.base}/completions", Completions(state, dialect).complete)
        app.router.add_get(f"{dialect.base}/models", Models(state, dialect).list)
    queue = nvcf.Queue(state)
    app.router.add_get(nvcf.STATUS_PATH, queue.status)
    app.router.add_get(nvcf.RESULT_PATH, queue.result)
    store = assets.Assets(state)
    app.router.add_post(assets.ASSETS_PATH, store.create)
    app.router.add_put(assets.UPLOAD_PATH, store.upload)
    app.router.add_delete(assets.ASSET_PATH, store.delete)
    app.router.add_get("/vllm/health", health)
    app.router.add_get("/openrouter/api/v1/key", Key(DIALECTS[-1]).show)
    desk = Desk(state)
    app.router.add_put("/control", desk.tell)
    app.router.add_put("/control/{dialect}", desk.tell)
    app.router.add_delete("/control", desk.reset)
    app.router.add_get("/control/counts", desk.counts)
    app.router.add_get("/control/calls", desk.calls)
    return app


@web.middleware
async def control_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """401 for who controls it, or looks at its calls, without the key in SANDBOX_CONTROL_KEY, if that is set."""
    key = os.environ.get("SANDBOX_CONTROL_KEY", "")
    said = request.headers.get("Authorization", "")
    if key and request.path.startswith("/control") and not hmac.compare_digest(said.encode(), f"Bearer {key}".encode()):
        return web.json_response({"error": "a key is needed"}, status=401)
    return await handler(request)


async def health(_request: web.Request) -> web.Response:
    """vLLM's: empty."""
    return web.Response()


class Models:
    """`GET …/models`."""

    def __init__(self, state: State, dialect: Dialect) -> None:
        self._state = state
        self._dialect = dialect

    async def list(self, request: web.Request) -> web.Response:
        """The list, or 401. Not logged as a call; only counted."""
        self._state.listings[self._dialect.name] += 1
        if not self._dialect.admits(request.headers.get("Authorization", "")):
            return unauthorized(self._dialect)
        return web.json_response(self._dialect.models())


class Key:
    """OpenRouter's `GET /key`: what is left of the key's limits."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    async def show(self, request: web.Request) -> web.Response:
        """A free-tier key that has been used a little."""
        if not self._dialect.admits(request.headers.get("Authorization", "")):
            return unauthorized(self._dialect)
        limits = {"requests": 20, "interval": "60s", "note": "simulated"}
        said = {"label": "sk-or-v1-sim...abc", "limit": 5.0, "limit_remaining": 4.5, "usage": 0.5, "is_free_tier": True}
        return web.json_response({"data": {**said, "rate_limit": limits}})


def unauthorized(dialect: Dialect) -> web.Response:
    """The dialect's 401."""
    content_type, text = dialect.refusal(401, model="")
    return web.Response(status=401, text=text, content_type=content_type)


class Desk:
    """The control endpoint: what the sandbox is told, and what it has seen."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def tell(self, request: web.Request) -> web.Response:
        """Replace the settings; 400 says what makes no sense."""
        dialect = request.match_info.get("dialect")
        try:
            self._state.tell(await request.json(), dialect=dialect)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    async def reset(self, _request: web.Request) -> web.Response:
        """Back to the defaults, counts included."""
        self._state.reset()
        return web.json_response({})

    async def counts(self, _request: web.Request) -> web.Response:
        """The counts."""
        return web.json_response(self._state.counts())

    async def calls(self, request: web.Request) -> web.Response:
        """The calls after number `since`, and the number to ask from next time."""
        since = int(request.query.get("since", 0))
        calls = self._state.calls.since(since)
        return web.json_response({"calls": calls, "next": calls[-1]["seq"] if calls else since})
