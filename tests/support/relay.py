"""A way to Redis on which an answer can be lost although its command was applied."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType

from tests.support.valkey import Valkey


class Relay:
    """Forwards connections to a Valkey. `with Relay(valkey) as relay:` and connect to `relay.url`.

    After `lose(word)` the next answer to what holds the word never arrives: the connection breaks instead.
    """

    def __init__(self, valkey: Valkey) -> None:
        self._to = ("127.0.0.1", valkey.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._word = b""
        self.losses = 0

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.close()

    def lose(self, word: bytes) -> None:
        """Lose the next answer to what holds this word. `losses` counts them."""
        self._word = word

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._to) as server:
            is_lost = threading.Event()
            back = threading.Thread(target=self._answer, args=(server, client, is_lost), daemon=True)
            back.start()
            while question := client.recv(1 << 16):
                if self._word and self._word in question:
                    self._word, self.losses = b"", self.losses + 1
                    is_lost.set()
                server.sendall(question)
            server.shutdown(socket.SHUT_WR)
            back.join()

    def _answer(self, server: socket.socket, client: socket.socket, is_lost: threading.Event) -> None:
        while (answer := server.recv(1 << 16)) and not is_lost.is_set():
            client.sendall(answer)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
