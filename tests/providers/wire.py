"""A server below HTTP: what a well-behaved one would never do, byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType

GOOD_BODY = json.dumps(
    {"model": "m", "choices": [{"finish_reason": "stop", "message": {"content": "fine"}}], "usage": None}
).encode()
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(GOOD_BODY) + GOOD_BODY

Handler = Callable[["Line"], None]


class Line:
    """One accepted connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        #: 0 for the first connection.
        self.number = number

    def request(self) -> bytes:
        """The next request, head and body; empty when the client hung up."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := self.sock.recv(65536)):
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        size = int(lines[0].split(b":")[1]) if lines else 0
        pieces, missing = [body], size - len(body)
        while missing > 0 and (more := self.sock.recv(1 << 20)):
            pieces.append(more)
            missing -= len(more)
        return head + b"\r\n\r\n" + b"".join(pieces)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)


class Wire:
    """Listens on loopback and gives each connection to `handler`, in a thread; closes it when that returns."""

    def __init__(self) -> None:
        self.handler: Handler = lambda line: None
        self.accepted = 0
        self.tls: ssl.SSLContext | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Closing alone does not wake the accept in the other thread.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                line = Line(sock, self.accepted)
                self.accepted += 1
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: Line) -> None:
        with contextlib.suppress(OSError):
            if self.tls:
                line.sock = self.tls.wrap_socket(line.sock, server_side=True)
            self.handler(line)
        line.sock.close()
