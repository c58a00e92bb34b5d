"""The time that the scripts see, for what is compared with moments that they wrote. It is told by lua/common.lua."""

from __future__ import annotations

from typing import cast

from redis import Redis
from redis.client import Pipeline

from tasks.store import keys

#: As in lua/common.lua.
NOTED_US, JUMP_US, SLOWER = 1_000_000, 60_000_000, 20


def ask(pipe: Redis | Pipeline) -> None:
    """Ask for the time in two commands of a pipeline, whose answers `now_us` takes."""
    pipe.time()
    pipe.get(keys.CLOCK)


def now_us(time: tuple[int, int], clock: str | None) -> int:
    """The time that a script would have seen in place of `ask`, in µs since the epoch."""
    own = time[0] * 1_000_000 + time[1]
    seen, added = map(int, (clock or "0 0").split())
    passed = own + added - seen
    if not 0 <= passed <= JUMP_US:
        return max(seen + NOTED_US, own)
    return own + added - min(added, passed // SLOWER)


def read_us(redis: Redis) -> int:
    """The time that a script would see now, in µs since the epoch."""
    pipe = redis.pipeline(transaction=True)
    ask(pipe)
    time, clock = pipe.execute()
    return now_us(cast(tuple[int, int], time), cast(str | None, clock))
