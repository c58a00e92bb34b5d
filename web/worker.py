"""Gunicorn's threads worker, but its main thread, which accepts connections, never waits for a client, and it takes no
requests once its master is dead."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

import structlog
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

log = structlog.get_logger()

PR_SET_PDEATHSIG = 1


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

    It also looks for a dead master once a second only, and a stopping worker keeps the port until it has stopped. Here
    the kernel says so at once, by a SIGTERM, and the port is free for the next master.
    """

    def init_signals(self) -> None:
        """Stop when the master ends, and not only when it says so."""
        super().init_signals()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != self.ppid:  # it was too late for the signal
            self.alive = False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take connections, or take none. A worker that stops gives up its share of the port, too."""
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        if os.getppid() != self.ppid:
            log.warning("web.orphaned", pid=os.getpid())
        for listener in self.sockets:
            listener.close()

    def handle(self, conn: TConn) -> Any:
        """Answer one request; close the connection unless it is kept."""
        kept = super().handle(conn)
        if not kept:
            conn.close(graceful=True)
            conn.sock = Closed()
        return kept
