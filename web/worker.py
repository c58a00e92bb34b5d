"""Gunicorn's threads worker, but its main thread, which accepts connections, never waits for a client."""

from __future__ import annotations

from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]


class Closed:
    """In place of a socket that is closed already."""

    def setblocking(self, flag: bool) -> None:
        """Nothing to set."""

    def shutdown(self, how: int) -> None:
        """What a closed socket answers."""
        raise OSError

    def close(self) -> None:
        """It is."""


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """Gunicorn 27 closes connections in the main thread and lingers there, up to 2 s, for clients that keep their end
    open: meanwhile nobody is accepted. Here the thread that answered lingers.
    """

    def handle(self, conn: TConn) -> Any:
        """Answer one request; close the connection unless it is kept."""
        kept = super().handle(conn)
        if not kept:
            conn.close(graceful=True)
            conn.sock = Closed()
        return kept
