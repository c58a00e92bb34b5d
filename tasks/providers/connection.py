"""Pooled HTTP connections that know whose call they carry, so that another thread can cut exactly that call.

A cut shuts a socket down. So a socket belongs to its call from the moment it is connected (or taken from the pool)
until just before it goes back, and what was cut goes back closed.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from requests import PreparedRequest, Response
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import EmptyPoolError
from urllib3.response import HTTPResponse
from urllib3.util.connection import create_connection

from tasks.domain.errors import CallCut
from tasks.domain.network import Network, is_allowed, parsed
from tasks.domain.provider_errors import InvalidResponse
from tasks.http_adapter import ClosingAdapter
from tasks.providers.base import NO_ROOM, Call

#: How often a call that waits for a free connection looks whether it was cut.
POOL_WAIT_S = 0.2
#: Hosts whose pools are kept: the provider's, its status host, and where large results lie.
HOSTS = 4


class Exchange:
    """One request and its answer: the call they belong to, and how far the connection came with them."""

    __slots__ = ("answered", "call", "connected", "counts", "fresh", "networks", "patience_s", "reused", "sent_at")

    def __init__(self, call: Call, *, fresh: bool = False, networks: Sequence[Network] | None = None) -> None:
        self.call = call
        #: Only to a host that is public, or in one of these; None: to any.
        self.networks = networks
        #: How long the socket may make no progress, once connected.
        self.patience_s = 0.0
        #: Whether only a new connection will do.
        self.fresh = fresh
        self.connected = False
        self.reused = False
        self.answered = False
        self.sent_at = 0.0
        #: Whether it is a request that limits count.
        self.counts = False


class _Here(threading.local):
    exchange: Exchange


_here = _Here()


def carry(exchange: Exchange) -> None:
    """Say whose requests this thread sends from now on."""
    _here.exchange = exchange


class _Carrier(HTTPConnection):
    """Mixed into both connections: lends the socket to the current thread's call."""

    _call: Call | None = None
    _served = False

    def _lend(self) -> None:
        self._call = _here.exchange.call
        _here.exchange.connected = True
        self._call.attach(self.sock)

    def give_back(self) -> bool:
        """Take the socket from its call. Returns whether another call may use the connection."""
        call, self._call = self._call, None
        if call is None:
            return True
        call.detach()
        return call.why_cut is None

    def _new_conn(self) -> socket.socket:
        networks = _here.exchange.networks
        if networks is None:
            return super()._new_conn()
        # To the address that was checked: a name may mean another one the next time that it is asked for.
        address = checked(self.host, self.port, networks)
        return create_connection((address, self.port), self.timeout, socket_options=self.socket_options)

    def connect(self) -> None:
        super().connect()
        self._served = False
        self.sock.settimeout(_here.exchange.patience_s)
        self._lend()
        if _here.exchange.counts:
            _here.exchange.call.about_to_send()

    def request(self, *args: Any, **kwargs: Any) -> None:
        exchange = _here.exchange
        exchange.reused = self.sock is not None and self._served
        if exchange.reused:
            self._lend()
        if self.sock is not None:
            # urllib3 would send under the connect timeout, which is too short for large images on a slow line.
            self.timeout = exchange.patience_s
        exchange.sent_at = time.monotonic()
        exchange.counts = args[0] == "POST"  # asking for a queued answer is no further request
        if not exchange.counts:
            return super().request(*args, **kwargs)
        if self.sock is not None:
            exchange.call.about_to_send()
        exchange.call.sends += 1
        try:
            super().request(*args, **kwargs)
        except CallCut as cut:
            if cut.why == NO_ROOM:  # found once the connection was made
                exchange.call.sends -= 1
            raise

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3's own deviation from http.client
        sock = self.sock
        response = super().getresponse()
        _here.exchange.answered = self._served = True
        if self.sock is None:
            # The answer says `Connection: close`: http.client has let go of the socket, but the body still comes
            # through it, so it stays the call's until Transport takes it away.
            _here.exchange.call.attach(sock)
        return response

    def close(self) -> None:
        # Before the descriptor is closed: its number may be somebody else's a moment later.
        self.give_back()
        super().close()


def checked(host: str, port: int, networks: Sequence[Network]) -> str:
    """An address of a host that a provider named. One that is not allowed spoils them all: such a name is not to be
    trusted. Raises InvalidResponse, and OSError where there is none."""
    found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    addresses = [parsed(one.partition("%")[0]) for one in found]
    if not all(address is not None and is_allowed(address, networks) for address in addresses):
        raise InvalidResponse("the provider names a host that is not public (TANDEM_IMAGE_NETWORKS allows others)")
    return found[0]


class CallConnection(_Carrier):
    """Plain HTTP."""


class CallTLSConnection(_Carrier, HTTPSConnection):
    """HTTPS. A cut during the handshake takes effect after it, at most one connect timeout later."""


class _Pool(HTTPConnectionPool):
    def _get_conn(self, timeout: float | None = None) -> Any:
        exchange = _here.exchange
        while True:
            try:
                conn = super()._get_conn(timeout=POOL_WAIT_S)
                break
            except EmptyPoolError:
                # Only this error tells urllib3 that no place in the pool was taken, and none is to be given back.
                if exchange.call.why_cut or exchange.call.overdue():
                    raise
        if exchange.fresh:
            conn.close()
        return conn

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and not conn.give_back():
            conn.close()
        super()._put_conn(conn)


class CallPool(_Pool):
    """Connections to one host."""

    ConnectionCls = CallConnection


class CallTLSPool(_Pool, HTTPSConnectionPool):
    """Connections to one host over TLS."""

    ConnectionCls = CallTLSConnection


class CallAdapter(ClosingAdapter):
    """requests' adapter over these pools: at most `concurrency` connections to a host, and no retries."""

    def __init__(self, *, concurrency: int) -> None:
        super().__init__(pool_connections=HOSTS, pool_maxsize=concurrency, max_retries=0, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of our kind."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": CallPool, "https": CallTLSPool}

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """The answer without what requests makes of it for its sessions: cookies, and a copy of the headers."""
        response = Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.request = req
        return response
