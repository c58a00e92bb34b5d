"""The connection to Redis: made at first use, one pool per process."""

from __future__ import annotations

import socket
from functools import cache
from typing import Any, cast

from redis import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel

from tasks import settings
from tasks.domain import redis_address
from tasks.domain.redis_address import RedisAddress

#: A frozen Redis must not hold a request for longer than this: POST answers 503 within 5 s.
TIMEOUT_S = 2.0
#: What was sent and not acknowledged by the other side's kernel ends a connection after this (Linux).
UNACKNOWLEDGED_MS = 10_000


def connect(url: str, *, decode: bool = True) -> Redis:
    """A client whose every command ends within about twice TIMEOUT_S. Its answers are text unless `decode` is False.

    One retry on a broken connection: after a restart of Redis the pool is full of dead ones. Any command may therefore
    be applied twice, when only its answer was lost, and must mean the same then. None after a time-out: a second wait
    would be over the client's patience. Sentinels are asked for the server at each new connection.
    """
    address = redis_address.parse(url)
    options: dict[str, Any] = {
        "decode_responses": decode,
        "socket_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        "retry_on_error": [],
        "db": address.db,
        **address.login(),
    }
    if address.kind == "sentinel":
        return _by_sentinels(address, options | TCP)
    return Redis(connection_pool=ConnectionPool(**options, **_way(address)))


#: What only a connection over the network has.
TCP: dict[str, Any] = {
    "socket_connect_timeout": TIMEOUT_S,
    "socket_keepalive": True,
    "socket_keepalive_options": {socket.TCP_USER_TIMEOUT: UNACKNOWLEDGED_MS},
}


def _way(address: RedisAddress) -> dict[str, Any]:
    if address.kind == "unix":
        return {"connection_class": UnixDomainSocketConnection, "path": address.path}
    ((host, port),) = address.hosts
    tcp = {"host": host, "port": port, **TCP}
    if address.kind == "tls":
        return tcp | {"connection_class": SSLConnection} | settings.get().redis_tls.options()
    return tcp | {"connection_class": Connection}


def _by_sentinels(address: RedisAddress, options: dict[str, Any]) -> Redis:
    # Without redis-py's own ten tries: the next sentinel is asked instead.
    own = {**TCP, "socket_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    sentinels = Sentinel(address.hosts, sentinel_kwargs=own, **options)  # type: ignore[no-untyped-call]
    return cast(Redis, sentinels.master_for(address.service))  # type: ignore[no-untyped-call]


@cache
def default() -> Redis:
    """The Redis of this process' settings."""
    return connect(settings.get().redis_url)


@cache
def binary() -> Redis:
    """The same Redis, whose answers stay bytes."""
    return connect(settings.get().redis_url, decode=False)
