"""Where a word lies in Redis: in a name of a key, or in a value of whatever type, the bodies of messages decoded."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import Any, cast

from redis import Redis

#: A run that may be base64: kombu keeps the body of a message so.
BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
#: A word that every message of ours has in its body, and nothing else in Redis has.
IN_A_BODY = "errbacks"


def places_of(word: str, url: str) -> set[str]:
    """The keys that hold the word. Reads all of the database."""
    with Redis.from_url(url) as redis:
        keys = cast(list[bytes], list(redis.scan_iter(count=1000)))
        return {key.decode() for key in keys if word.encode() in key + decoded(value(redis, key))}


def value(redis: Redis, key: bytes) -> bytes:
    """All that a key holds, as text."""
    read: dict[bytes, Any] = {
        b"none": lambda: b"",
        b"string": lambda: redis.get(key),
        b"hash": lambda: redis.hgetall(key),
        b"list": lambda: redis.lrange(key, 0, -1),
        b"set": lambda: redis.smembers(key),
        b"zset": lambda: redis.zrange(key, 0, -1),
        b"stream": lambda: redis.xrange(key),
    }
    found = read[cast(bytes, redis.type(key))]()
    return found if isinstance(found, bytes) else repr(found).encode()


def decoded(text: bytes) -> bytes:
    """The text, and behind it what the base64 in it says."""
    return b"\n".join([text, *map(_plain, BASE64.findall(text))])


def _plain(run: bytes) -> bytes:
    try:
        return b64decode(run)
    except binascii.Error:
        return b""
