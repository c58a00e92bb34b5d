"""A sandbox in a thread of this process, for tests and for answering without a provider."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType

from tasks.providers.sandbox.server import Server
from tasks.providers.sandbox.state import State

STOP_WITHIN_S = 10.0


class SandboxThread:
    """`with SandboxThread() as sandbox:` serves at `sandbox.url` until the block ends."""

    def __init__(self, *, port: int = 0, log: Path | None = None, window_s: float = 60.0) -> None:
        self.url = ""
        self._server = Server(port=port, log=log, window_s=window_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)

    @property
    def state(self) -> State:
        """What it remembers; to be read, not written, from another thread."""
        return self._server.state

    def __enter__(self) -> SandboxThread:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(STOP_WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_WITHIN_S)
        self._loop.close()
