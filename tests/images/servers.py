"""A web server and a name server on loopback, for whoever fetches from strangers."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dnslib import AAAA, CNAME, QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSServer

Page = Callable[[BaseHTTPRequestHandler], None]


class WebServer:
    """Serves `pages` by path. `seen` has what was asked: (Host, path, all headers)."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0, tls: Path | None = None) -> None:
        self.pages: dict[str, Page] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                server.seen.append((self.headers.get("Host", ""), self.path, dict(self.headers)))
                server.pages.get(path, status(404))(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer((address, port), Handler)
        self._http.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = int(self._http.server_address[1])

    @contextmanager
    def running(self) -> Iterator[WebServer]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join(5)


def page(body: bytes, content_type: str = "image/png", **headers: str) -> Page:
    """200 with a length."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        sent = {"Content-Type": content_type, "Content-Length": str(len(body))}
        for name, value in (sent | {name.replace("_", "-"): value for name, value in headers.items()}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def status(code: int, **headers: str) -> Page:
    """A status and no body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def redirect(location: str, code: int = 302) -> Page:
    return status(code, Location=location)


def raw(*pieces: bytes, pause: Callable[[], object] = lambda: None) -> Page:
    """Bytes as they are, with a pause before each but the first."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        for n, piece in enumerate(pieces):
            if n:
                pause()
            try:
                handler.wfile.write(piece)
                handler.wfile.flush()
            except OSError:
                return

    return answer


class Names(BaseResolver):  # type: ignore[misc]  # dnslib has no types
    """Answers from `book`: a name has a list of answers, one for each time it is asked; the last one stays."""

    def __init__(self) -> None:
        self.book: dict[str, list[list[str]]] = {}
        self.asked: Counter[str] = Counter()

    def resolve(self, request: DNSRecord, handler: Any) -> DNSRecord:
        name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype]
        reply = request.reply()
        answers = self.book.get(name, [[]])
        # The addresses of both families belong to one asking, which begins with A.
        self.asked[name] += kind == "A"
        for value in answers[min(max(self.asked[name], 1), len(answers)) - 1]:
            self._add(reply, f"{name}.", kind, value)
        return reply

    def _add(self, reply: DNSRecord, name: str, kind: str, value: str) -> None:
        if value.startswith("="):
            reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(value[1:]), ttl=0))
            for address in self.book[value[1:].rstrip(".")][0]:
                self._add(reply, value[1:], kind, address)
        elif ":" in value and kind == "AAAA":
            reply.add_answer(RR(name, QTYPE.AAAA, rdata=AAAA(value), ttl=0))
        elif ":" not in value and kind == "A":
            reply.add_answer(RR(name, QTYPE.A, rdata=A(value), ttl=0))


class NameServer:
    """A real DNS server over UDP; `address` is for TANDEM_IMAGE_NAMESERVER."""

    def __init__(self) -> None:
        self.names = Names()
        self._dns = DNSServer(self.names, address="127.0.0.1", port=0)
        self.address = f"127.0.0.1:{self._dns.server.server_address[1]}"

    def tell(self, name: str, *answers: list[str]) -> None:
        self.names.book[name] = list(answers)
        self.names.asked.pop(name, None)

    @contextmanager
    def running(self) -> Iterator[NameServer]:
        self._dns.start_thread()
        try:
            yield self
        finally:
            self._dns.stop()
            self._dns.server.server_close()
