"""Gunicorn's threads worker, but no client holds a thread while its request comes in, the main thread never waits for
one, and no requests are taken once the master is dead."""

from __future__ import annotations

import ctypes
import errno
import os
import selectors
import signal
import socket
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from web import refused_requests, request_id
from web.reception import HEAD_S, TOO_LONG, TOO_SLOW, Incoming, Stage, prepare

log = structlog.get_logger()

PR_SET_PDEATHSIG = 1
#: So many threads may read bodies that did not come in whole before.
READERS = 16
PIECE_BYTES = 64 * 1024
#: How often deadlines are looked at.
LOOK_S = 0.5
#: How long a stopping worker keeps connections on which nothing comes.
LINGER_S = 1.0
FULL = (errno.EMFILE, errno.ENFILE)
AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)


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
    """Gunicorn 27 gives a connection a thread once its first byte is there, and that thread waits for all others. Here
    the main thread reads what comes, and a thread is taken when the request is whole (reception.py).

    Gunicorn closes connections in the main thread and lingers there, up to 2 s, for clients that keep their end open:
    meanwhile nobody is accepted. Here the thread that answered lingers.

    It also looks for a dead master once a second only, and a stopping worker keeps the port until it has stopped. Here
    the kernel says so at once, by a SIGTERM, and the port is free for the next master.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Connections whose next request is coming in, the oldest first.
        self._coming: dict[TConn, Incoming] = {}
        #: Those whose large body waits for a thread.
        self._queue: deque[tuple[TConn, Incoming]] = deque()
        self._readers: set[TConn] = set()
        self._look_at = 0.0

    # ---- the master -----------------------------------------------------------------------------

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

    # ---- connections ----------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and what it has sent."""
        if self.cfg.is_ssl:  # its bytes are not those of a request
            super().accept(listener)
            return
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in FULL:
                self._drop_oldest()
            elif error.errno not in AGAIN:
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._drop_oldest()  # else those who send nothing would keep everybody out
        self._receive(TConn(self.cfg, client, address, listener.getsockname()), b"", HEAD_S)

    def finish_request(self, conn: TConn, done: Future[Any]) -> None:
        """Look for the next request of a connection that is kept; forget any other."""
        self._leave_readers(conn)
        if self.cfg.is_ssl or done.cancelled() or done.exception() or not done.result():
            super().finish_request(conn, done)
        else:
            # What was read beyond the request that was answered may be half of the next one.
            rest = conn.parser.unreader.take_buffered()
            self._receive(conn, rest, self.cfg.keepalive if self.alive else LINGER_S)

    def _receive(self, conn: TConn, begun: bytes, idle_s: float) -> None:
        incoming = self._coming[conn] = Incoming(idle_until=time.monotonic() + idle_s)
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read, conn))
        if begun:
            self._take(conn, incoming, begun)
        else:
            self._read(conn, conn.sock)

    def _read(self, conn: TConn, client: socket.socket) -> None:
        incoming = self._coming.get(conn)
        if incoming is None:  # dropped by what came before it in the same look
            return
        try:
            piece = client.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(conn)
            return
        if piece:
            self._take(conn, incoming, piece)
        elif incoming.is_idle:
            self._drop(conn)
        else:
            self._hand_over(conn, incoming)  # cut off: for the parser and the application to say

    def _take(self, conn: TConn, incoming: Incoming, piece: bytes) -> None:
        stage = incoming.take(piece, time.monotonic())
        if stage is Stage.WHOLE:
            self._hand_over(conn, incoming)
        elif stage is Stage.ENDLESS:
            self._drop(conn, _refusal(431, TOO_LONG))
        elif stage is Stage.LARGE:
            self._forget(conn)
            self._queue.append((conn, incoming))
            self._admit_readers()

    def _hand_over(self, conn: TConn, incoming: Incoming) -> None:
        self._forget(conn)
        prepare(conn, incoming, partial(self.method_queue.defer, self._leave_readers, conn))
        self.enqueue_req(conn)

    def _admit_readers(self) -> None:
        while self._queue and len(self._readers) < READERS:
            conn, incoming = self._queue.popleft()
            self._readers.add(conn)
            prepare(conn, incoming, partial(self.method_queue.defer, self._leave_readers, conn))
            self.enqueue_req(conn)

    def _leave_readers(self, conn: TConn) -> None:
        self._readers.discard(conn)
        self._admit_readers()

    def _forget(self, conn: TConn) -> None:
        del self._coming[conn]
        self.poller.unregister(conn.sock)

    def _drop(self, conn: TConn, response: bytes = b"") -> None:
        self._forget(conn)
        refused_requests.send(conn.sock, response)  # a few bytes, which its buffer takes
        self.nr_conns -= 1
        conn.close()

    def _drop_oldest(self) -> None:
        if self._coming:
            self._drop(next(iter(self._coming)))

    # ---- deadlines ------------------------------------------------------------------------------

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections on which nothing comes, or too slowly; all of them if forced."""
        super().murder_keepalived(force)
        now = time.monotonic()
        if now < self._look_at and not force:
            return
        self._look_at = now + LOOK_S
        for conn, incoming in [*self._coming.items()]:
            if force or now >= incoming.deadline:
                self._drop(conn, b"" if incoming.is_idle else _refusal(408, TOO_SLOW))

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for incoming in self._coming.values():
            if incoming.is_idle:
                incoming.deadline = min(incoming.deadline, time.monotonic() + LINGER_S)

    # ---- in a thread ----------------------------------------------------------------------------

    def handle(self, conn: TConn) -> Any:
        """Answer one request; close the connection unless it is kept."""
        kept = super().handle(conn)
        if not kept:
            conn.close(graceful=True)
            conn.sock = Closed()
        return kept

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read, or whose answer failed outside the application."""
        status = refused_requests.status_of(exc)
        refused_requests.send(client, _refusal(status, refused_requests.detail_of(exc), exc))


def _refusal(status: int, detail: str | None, error: BaseException | None = None) -> bytes:
    """What such a request is answered. Its line in the log has the same id."""
    made = request_id.made()
    if status < 500:
        log.info("http.unreadable", status=status, error=type(error).__name__ if error else None, request_id=made)
    else:
        log.error("http.failed", status=status, request_id=made, exc_info=error)
    return refused_requests.answer(status, detail, made)
