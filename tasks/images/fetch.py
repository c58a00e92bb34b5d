"""Fetches images from strangers' URLs without being led into the house.

A name is resolved once per step, every address it has must be allowed, and the connection is made to one of those:
asking again, as an HTTP library would, is what DNS rebinding waits for. Each redirect starts again from the beginning.
Nothing is sent but a GET: no credentials, cookies, proxies, netrc.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import certifi

from tasks.domain.errors import TandemError, Unavailable
from tasks.domain.network import Address, Network, is_allowed, parsed
from tasks.images.location import BadURL, Location, parse
from tasks.images.resolver import Resolver

MOST_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: One that takes longer has another address tried, if there is one.
CONNECT_S = 3.0
CHUNK_BYTES = 64 * 1024
#: Fetches of a process at a time: slow servers must not take all of its threads.
SEATS = 16
RETRY_AFTER_S = 2.0
HEADERS = {
    "Accept": "image/jpeg, image/png, image/webp",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "tandem",
}

#: One sentence for all that can go wrong before there is an answer: which of them it was would tell what is inside.
NOT_THERE = "the image cannot be fetched: its host is not public or does not answer"

_seats = threading.BoundedSemaphore(SEATS)


class NotFetched(TandemError):
    """There is nothing to be had at this URL. The message is fit for a client."""


class Fetcher:
    """Fetches over http and https from public addresses, and from `networks` besides; from `ports` alone.

    `nameserver` replaces the system's, `ca_file` the usual certificate authorities.
    """

    def __init__(
        self,
        *,
        networks: Sequence[Network] = (),
        ports: Sequence[int] = (80, 443),
        nameserver: str = "",
        most_bytes: int,
        ca_file: str | None = None,
    ) -> None:
        self._networks, self._ports = tuple(networks), frozenset(ports)
        self._resolver = Resolver(nameserver)
        self._most_bytes = most_bytes
        self._tls = ssl.create_default_context(cafile=ca_file or certifi.where())

    def fetch(self, url: str, *, ends_at: float) -> bytes:
        """What is at `url`, by `ends_at` (monotonic) at the latest.

        Raises NotFetched, and Unavailable when too many are fetching.
        """
        if not _seats.acquire(blocking=False):
            raise Unavailable("too many images are being fetched", retry_after_s=RETRY_AFTER_S)
        try:
            return self._followed(parse(url), ends_at)
        except BadURL as error:
            raise NotFetched(str(error)) from error
        finally:
            _seats.release()

    def _followed(self, location: Location, ends_at: float) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            found = self._step(location, ends_at)
            if isinstance(found, bytes):
                return found
            location = found
        raise NotFetched(f"the URL redirects more than {MOST_REDIRECTS} times")

    def _step(self, location: Location, ends_at: float) -> bytes | Location:
        """The content, or where it is said to be."""
        if location.port not in self._ports:
            raise NotFetched("the URL names a port that images are not fetched from")
        connection = http.client.HTTPConnection(location.host, location.port)
        try:
            with self._connected(location, ends_at) as sock, ended_in_time(sock, ends_at):
                if isinstance(sock, ssl.SSLSocket):
                    sock.do_handshake()
                connection.sock = sock
                connection.request("GET", location.target, headers=HEADERS | {"Host": location.authority})
                answer = connection.getresponse()
                if answer.status in REDIRECTS:
                    return location.to(answer.headers.get("Location", ""))
                return self._body(answer, ends_at)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotFetched(NOT_THERE) from error
        finally:
            connection.close()

    @contextmanager
    def _connected(self, location: Location, ends_at: float) -> Iterator[socket.socket]:
        for address in self._checked(location.host, ends_at):
            left_s = min(CONNECT_S, ends_at - time.monotonic())
            if left_s <= 0:
                break
            try:
                plain = socket.create_connection((str(address), location.port), timeout=left_s)
            except OSError:
                continue
            with plain:
                if location.scheme == "http":
                    yield plain
                else:
                    with self._wrapped(plain, location.host) as secure:
                        yield secure
                return
        raise NotFetched(NOT_THERE)

    def _wrapped(self, plain: socket.socket, host: str) -> ssl.SSLSocket:
        # The handshake comes later, under the deadline: a server may drip through it too.
        return self._tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)

    def _checked(self, host: str, ends_at: float) -> list[Address]:
        """The addresses of `host`. One that is not allowed spoils them all: such a name is not to be trusted."""
        literal = parsed(host)
        found = [literal] if literal else self._resolver.addresses(host, within_s=ends_at - time.monotonic())
        if not all(is_allowed(address, self._networks) for address in found):
            raise NotFetched(NOT_THERE)
        return found

    def _body(self, answer: http.client.HTTPResponse, ends_at: float) -> bytes:
        if answer.status != http.HTTPStatus.OK:
            raise NotFetched(f"the image's host answers with HTTP {answer.status}")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise NotFetched("the image's host sends it compressed, unasked")
        if (answer.length or 0) > self._most_bytes:
            raise NotFetched(f"the image is larger than {self._most_bytes} bytes")
        found = bytearray()
        while chunk := answer.read1(CHUNK_BYTES):
            found += chunk
            if len(found) > self._most_bytes:
                raise NotFetched(f"the image is larger than {self._most_bytes} bytes")
        if answer.length or time.monotonic() >= ends_at:
            raise NotFetched("the image's host did not send all of it in time")
        return bytes(found)


@contextmanager
def ended_in_time(sock: socket.socket, ends_at: float) -> Iterator[None]:
    """Shut the socket down at that moment: a timeout of its own begins anew with every byte that drips in."""

    def end() -> None:
        with contextlib.suppress(OSError):
            # The plain shutdown also for TLS: SSLSocket.shutdown would pull the TLS object from under the reader.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    sock.settimeout(max(0.1, ends_at - time.monotonic()))
    timer = threading.Timer(max(0.0, ends_at - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
