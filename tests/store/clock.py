"""Time that passes when a test says so: what the scripts have written down is moved back by it."""

from __future__ import annotations

from collections.abc import Iterable

from redis import Redis

from tasks.store import clock, keys

#: The moments in a limit's hash.
MOMENTS = ("until", "wake_at", "given_at", "raise_at", "refused_at", "learned_at")


def now_ms(redis: Redis) -> int:
    """The time that the scripts see."""
    return clock.read_us(redis) // 1000


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


def ahead(redis: Redis, seconds: float) -> None:
    """The scripts' time is so much later from now on, as if Redis' clock were."""
    now_us, (_, added_us) = clock.read_us(redis), told(redis)
    tell(redis, now_us + int(seconds * 1e6), added_us + int(seconds * 1e6))


def step_back(redis: Redis, seconds: float) -> None:
    """What `ahead` has brought about goes at once, and all that was written since stays: so it looks to the scripts
    when Redis' clock is set back."""
    seen_us, added_us = told(redis)
    tell(redis, seen_us, added_us - int(seconds * 1e6))


def step_forward(redis: Redis, seconds: float) -> None:
    """All that was seen of the time is so much longer ago, as when Redis' clock is set forward."""
    seen_us, added_us = told(redis)
    tell(redis, seen_us - int(seconds * 1e6), added_us)


def told(redis: Redis) -> tuple[int, int]:
    """The latest moment that is known, and what is added to Redis' own clock (µs)."""
    seen, added = str(redis.get(keys.CLOCK) or "0 0").split()
    return int(seen), int(added)


def tell(redis: Redis, seen_us: int, added_us: int) -> None:
    """Let these be the two."""
    redis.set(keys.CLOCK, f"{seen_us} {max(added_us, 0)}")
