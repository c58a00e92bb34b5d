"""Time that passes when a test says so: what the scripts have written down is moved back by it."""

from __future__ import annotations

from collections.abc import Iterable

from redis import Redis

from tasks.store import keys

#: The moments in a limit's hash.
MOMENTS = ("until", "wake_at", "given_at", "raise_at", "refused_at", "learned_at")


def now_ms(redis: Redis) -> int:
    """The time that the scripts see."""
    seconds, micros = redis.time()
    return seconds * 1000 + micros // 1000


def pass_time(redis: Redis, limits: Iterable[str], seconds: float) -> None:
    """All that is known of these limits lies so much further back."""
    for limit in limits:
        for name in (keys.requests(limit), keys.calls(limit), keys.tokens(limit)):
            for call, _ in redis.zscan_iter(name):
                redis.zincrby(name, -seconds * 1000, call)
        move_back(redis, keys.limit(limit), MOMENTS, seconds)


def move_back(redis: Redis, key: str, names: Iterable[str], seconds: float) -> None:
    """The moments (ms) that a hash has under these names lie so much further back."""
    for name in names:
        if (moment := redis.hget(key, name)) is not None:
            redis.hset(key, name, int(float(str(moment)) - seconds * 1000))


def pull_forward(redis: Redis, key: str, seconds: float) -> None:
    """The moments (ms) that are the scores of a sorted set come so much sooner."""
    for member, _ in redis.zscan_iter(key):
        redis.zincrby(key, -seconds * 1000, member)
