"""An upstream that kills whoever asks it for "poison": a job that its process does not survive, with no hook in it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from types import TracebackType
from typing import Any

import psutil
from aiohttp import web

POISON = "poison"
#: Long enough for the poison's neighbours to be in flight with it.
LATENCY_S = 1.0


class DeadlyUpstream:
    """`with DeadlyUpstream() as upstream:` serves OpenAI's chat completions at `upstream.url`."""

    def __init__(self) -> None:
        self.url = ""
        self.kills = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> DeadlyUpstream:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _start(self) -> str:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    async def _answer(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        await asyncio.sleep(LATENCY_S)
        if body["messages"][-1]["content"] == POISON:
            # Whoever asks is not always found at the first look at all connections.
            while (line := request.transport) is not None and not line.is_closing():
                await asyncio.to_thread(self._kill, line.get_extra_info("peername")[1])
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        return web.json_response({"model": body["model"], "choices": [choice]})

    def _kill(self, port: int) -> None:
        for connection in psutil.net_connections("tcp4"):
            if connection.laddr and connection.laddr.port == port and connection.pid not in (None, os.getpid()):
                self.kills += 1
                os.kill(int(connection.pid or 0), signal.SIGKILL)
                return
