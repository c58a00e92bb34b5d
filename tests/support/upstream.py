"""A hosted provider that answers what no JSON library of ours would write: the first word of a prompt says what."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

#: A chat completion around the members of its message.
CHAT = (
    '{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message":'
    ' {"role": "assistant", %s}, "finish_reason": "%s"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1,'
    ' "total_tokens": 2}}'
)


class Upstream(ThreadingHTTPServer):
    """Listens on loopback. `words` are the answers, status and body; any other prompt is answered "fine"."""

    request_queue_size, daemon_threads = 256, True

    def __init__(self, words: dict[str, tuple[int, str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.words = words
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        #: How often each prompt came.
        self.asked: Counter[str] = Counter()

    @contextmanager
    def running(self) -> Iterator[Upstream]:
        """Answer while the block runs."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ClassVar[Upstream]  # type: ignore[misc]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._say(200, '{"object": "list", "data": []}')

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        self.server.asked[asked] += 1
        self._say(*self.server.words.get(asked.split(" ")[0], (200, CHAT % ('"content": "fine"', "stop"))))

    def _say(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
