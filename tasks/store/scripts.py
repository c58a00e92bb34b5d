"""The Lua scripts in `lua/`, loaded with the common part in front, and Redis' errors renamed at this border."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import (
    ConnectionError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

from tasks.domain.errors import Unavailable

LUA = Path(__file__).parent / "lua"

#: How a Redis that is there refuses to write: full, loading, without its disk or its replicas, a replica itself, kept
#: busy by a script, or not letting this user. Raised inside a script, they come as plain response errors.
REFUSALS = ("OOM ", "LOADING ", "MISCONF ", "NOREPLICAS ", "READONLY ", "MASTERDOWN ", "BUSY ", "NOPERM ")

#: What to tell a client that found Redis away: a supervisor has it back within seconds.
RETRY_AFTER_S = 2.0


#: What every script has before it.
COMMON = ("common", "flights")
#: What a script says that needs further functions, and where they are, in order.
PARTS = {
    "-- with rate\n": ("rate", "learning", "room"),
    "-- with circuit\n": ("circuit", "places"),
    "-- with batch\n": ("batch",),
}


@cache
def source(name: str) -> str:
    """The text of a script. Its flags line, which must come first, stays first."""
    text = (LUA / f"{name}.lua").read_text()
    further = [part for mark, parts in PARTS.items() if mark in text for part in parts]
    common = "".join((LUA / f"{part}.lua").read_text() for part in (*COMMON, *further))
    if text.startswith("#!"):
        flags, body = text.split("\n", 1)
        return f"{flags}\n{common}\n{body}"
    return f"{common}\n{text}"


@contextmanager
def renamed() -> Iterator[None]:
    """Raise Unavailable in place of Redis' own errors for being away, full, or unable to write."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise Unavailable("Redis does not answer", retry_after_s=RETRY_AFTER_S) from error
    except OutOfMemoryError as error:
        raise Unavailable("Redis is full", retry_after_s=RETRY_AFTER_S) from error
    except ResponseError as error:
        if isinstance(error, ReadOnlyError | NoPermissionError) or any(word in str(error) for word in REFUSALS):
            raise Unavailable("Redis cannot write now", retry_after_s=RETRY_AFTER_S) from error
        raise


def _renamed(error: Exception) -> Exception:
    try:
        with renamed():
            raise error
    except Exception as known:
        return known


class Scripts:
    """The scripts against one Redis. `call` is the only way to them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._loaded: dict[str, Script] = {}

    def call(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run script `name`. Raises Unavailable when Redis is away or full."""
        with renamed():
            return self._script(name)(keys=keys, args=args)

    def call_each(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run script `name` for each (keys, args) in one round trip. Raises Unavailable; some may have run then."""
        answers = self.answers(name, calls)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def answers(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """The same, but with the error of a call that was refused in place of its answer.

        Raises Unavailable when Redis is away; some may have run then.
        """
        script = self._script(name)
        with renamed():
            answers = self._sent(script, calls)
            # A Redis that was started anew knows no script, and has run none of these.
            unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                self._redis.script_load(script.script)
                for i, answer in zip(unknown, self._sent(script, [calls[i] for i in unknown]), strict=True):
                    answers[i] = answer
        return [_renamed(answer) if isinstance(answer, Exception) else answer for answer in answers]

    def _sent(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        # Not by calling the script: in a pipeline it would ask before each round trip whether Redis knows it.
        pipe = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            pipe.evalsha(script.sha, len(keys), *keys, *args)
        return pipe.execute(raise_on_error=False)

    def _script(self, name: str) -> Script:
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(source(name))
        return script
