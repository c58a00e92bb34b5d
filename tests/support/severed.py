"""A way to a Valkey that breaks for good as soon as one certain write has been answered."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1 << 20


class Severed:
    """Passes everything on until a command that contains `mark` was answered well; from then on nobody answers there.

    `with Severed(port, b"mark") as way:` and `way.url` in place of the server's own.
    """

    def __init__(self, port: int, mark: bytes) -> None:
        self._port = port
        self._mark = mark
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.is_cut = threading.Event()
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cut()

    def _cut(self) -> None:
        self.is_cut.set()
        for one in (self._listening, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                marked = threading.Event()
                for carry in (self._ask, self._answer):
                    threading.Thread(target=carry, args=(client, server, marked), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                if self._mark in data:
                    marked.set()
                server.sendall(data)

    def _answer(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(CHUNK_BYTES):
                client.sendall(data)
                # An error is the word of a server that did not do it: it did not know the script yet.
                if marked.is_set() and not data.startswith(b"-"):
                    self._cut()
                marked.clear()
