"""A lean client in a process of its own: N connections that POST one body again and again.

`python -m benchmarks.load URL --connections 16 --seconds 6 < BODY` prints what it saw as JSON. Raw sockets, since a
proper HTTP client would take as much CPU as the service that it measures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection
from typing import Any
from urllib.parse import urlsplit

#: Longer than any answer takes.
TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the client saw. `answer` is the body of one of the answers."""

    n: int
    seconds: float
    cpu_ms: int
    answer: dict[str, Any]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.n / self.seconds


def run(url: str, body: dict[str, Any], *, connections: int, seconds: float = 0.0, count: int = 0) -> Seen:
    """POST `body` for so long or so often. Raises RuntimeError when an answer was no success."""
    limits = ["--connections", str(connections), "--seconds", str(seconds), "--count", str(count)]
    command = [sys.executable, "-m", "benchmarks.load", url, *limits]
    done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return Seen(**json.loads(done.stdout))


class Connection:
    """One connection that is kept alive."""

    def __init__(self, url: str, body: bytes) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._socket = create_connection((parts.hostname, parts.port or 80), timeout=TIMEOUT_S)
        self._socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body

    def post(self) -> tuple[int, bytes]:
        """(status, body)."""
        self._socket.sendall(self._request)
        head, _, body = self._until(b"", lambda got: b"\r\n\r\n" in got).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), self._until(body, lambda got: len(got) >= length)

    def _until(self, got: bytes, is_enough: Any) -> bytes:
        while not is_enough(got):
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("the server closed the connection")
            got += more
        return got


class Crowd:
    """All connections, a thread each. Stops at `count` answers or after `seconds`."""

    def __init__(self, url: str, body: bytes, *, connections: int, seconds: float, count: int) -> None:
        self._connections = [Connection(url, body) for _ in range(connections)]
        self._seconds, self._count = seconds, count
        self._lock = threading.Lock()
        self._sent = 0
        self.statuses: Counter[int] = Counter()
        self.errors: list[str] = []
        self.answer = b"{}"

    def run(self) -> Seen:
        """Send, and report."""
        began = time.monotonic()
        self._ends_at = began + self._seconds
        threads = [threading.Thread(target=self._drive, args=(one,)) for one in self._connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        if self.errors or any(status >= 300 for status in self.statuses):
            raise SystemExit(f"not all was well: {dict(self.statuses)} {self.errors[:1]} {self.answer[:300]!r}")
        answer = json.loads(self.answer)
        return Seen(n=self.statuses.total(), seconds=seconds, cpu_ms=round(time.process_time() * 1000), answer=answer)

    def _drive(self, connection: Connection) -> None:
        statuses: Counter[int] = Counter()
        try:
            while self._may_send():
                status, self.answer = connection.post()
                statuses[status] += 1
        except OSError as error:
            self.errors.append(str(error))
        with self._lock:
            self.statuses += statuses

    def _may_send(self) -> bool:
        if not self._count:
            return time.monotonic() < self._ends_at
        with self._lock:
            self._sent += 1
            return self._sent <= self._count


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--count", type=int, default=0)
    said = vars(parser.parse_args())
    print(json.dumps(asdict(Crowd(said.pop("url"), sys.stdin.buffer.read(), **said).run())))


if __name__ == "__main__":
    main()
