"""A way to a Valkey that breaks where a test says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1 << 16


class Relay:
    """Passes everything on: `with Relay(valkey.port) as relay:` and `relay.url` in place of the server's own.

    `broken` is set when what was asked for has happened. A command is known by a word in it. One that the server
    refuses does not count: a script that it does not know yet is sent again.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listening]
        self._word = b""
        self._is_lost = False
        self._silent: set[socket.socket] = set()
        self.broken = threading.Event()
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"

    def lose(self, word: str) -> Self:
        """Do the next command that holds the word, but lose its answer: the connection breaks instead."""
        self._word, self._is_lost = word.encode(), True
        return self

    def end_after(self, word: str) -> Self:
        """Answer the next command that holds the word; from then on nobody answers here."""
        self._word, self._is_lost = word.encode(), False
        return self

    def half_open(self) -> None:
        """From now on nothing goes through the connections that are there, and nobody is told; new ones are good."""
        self._silent |= set(self._open)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _close(*self._open)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                marked = threading.Event()
                for carry in (self._ask, self._answer):
                    threading.Thread(target=_until_closed, args=(carry, client, server, marked), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        while data := client.recv(CHUNK_BYTES):
            if client in self._silent:
                continue
            if self._word and self._word in data:
                marked.set()
            server.sendall(data)

    def _answer(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        while data := server.recv(CHUNK_BYTES):
            if client in self._silent:
                continue
            is_marked = marked.is_set()
            # Before the answer is out: behind it the next question may come, and be marked.
            marked.clear()
            if is_marked and not data.startswith(b"-"):
                self._word = b""
                if not self._is_lost:
                    client.sendall(data)
                self.broken.set()
                _close(*((client, server) if self._is_lost else self._open))
            else:
                client.sendall(data)


def _until_closed(
    carry: Callable[[socket.socket, socket.socket, threading.Event], None],
    client: socket.socket, server: socket.socket, marked: threading.Event,
) -> None:  # fmt: skip
    with suppress(OSError):
        carry(client, server, marked)
    _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
