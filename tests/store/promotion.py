"""A replica that takes over before it has heard of the last writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import ConnectionPool, Redis


@contextmanager
def unheard_of(redis: Redis) -> Iterator[None]:
    """What is written within the block is forgotten: after it all keys are as they were before."""
    at = redis.connection_pool.connection_kwargs
    raw = Redis(connection_pool=ConnectionPool(host=at["host"], port=at["port"], db=at.get("db", 0)))
    before = _dump(raw)
    try:
        yield
    finally:
        pipe = raw.pipeline(transaction=True)
        pipe.flushdb()
        for name, value, left_ms in before:
            pipe.restore(name, max(left_ms, 0), value)
        pipe.execute()
        raw.close()


def _dump(raw: Redis) -> list[tuple[bytes, bytes, int]]:
    names = list(raw.scan_iter(count=1000))
    pipe = raw.pipeline(transaction=False)
    for name in names:
        pipe.dump(name)
        pipe.pttl(name)
    said = pipe.execute()
    return list(zip(names, said[::2], said[1::2], strict=True))
