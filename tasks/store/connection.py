"""The connection to Redis: made at first use, one pool per process."""

from __future__ import annotations

from functools import cache

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

from tasks import settings

#: A frozen Redis must not hold a request for longer than this: POST answers 503 within 5 s.
TIMEOUT_S = 2.0


def connect(url: str, *, decode: bool = True) -> Redis:
    """A client whose every command ends within about twice TIMEOUT_S. Its answers are text unless `decode` is False.

    One retry on a broken connection: after a restart of Redis the pool is full of dead ones. Any command may therefore
    be applied twice, when only its answer was lost, and must mean the same then. None after a time-out: a second wait
    would be over the client's patience.
    """
    pool = ConnectionPool.from_url(
        url,
        decode_responses=decode,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        retry_on_error=[],
    )
    return Redis(connection_pool=pool)


@cache
def default() -> Redis:
    """The Redis of this process' settings."""
    return connect(settings.get().redis_url)


@cache
def binary() -> Redis:
    """The same Redis, whose answers stay bytes."""
    return connect(settings.get().redis_url, decode=False)
