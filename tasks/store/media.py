"""Images as they were given, stored once by their hash and referred to as `media:<sha256>`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import cast

from redis import Redis

from tasks.store import connection, keys
from tasks.store.scripts import Scripts, renamed

SCHEME = "media:"


class Media:
    """The images on one Redis, which must not decode what it answers. Every method raises Unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def keep(self, data: bytes, *, for_s: float) -> str:
        """Store `data` for so many seconds at least, and return its reference. What is there already stays longer."""
        digest = hashlib.sha256(data).hexdigest()
        self._scripts.call("keep_media", [keys.media(digest)], [data, int(for_s) + 1])
        return SCHEME + digest

    def prolong(self, references: Iterable[str], *, for_s: float) -> None:
        """Keep what is stored for so many seconds at least."""
        pipe = self._redis.pipeline(transaction=False)
        for reference in references:
            pipe.expire(keys.media(reference.removeprefix(SCHEME)), int(for_s) + 1, gt=True)
        with renamed():
            pipe.execute()

    def find(self, reference: str) -> bytes | None:
        """The image of a reference; None when it is gone."""
        with renamed():
            return cast(bytes | None, self._redis.get(keys.media(reference.removeprefix(SCHEME))))


@cache
def default() -> Media:
    """The images on this process' Redis."""
    return Media(connection.binary())
