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

from tasks.domain.errors import NoRoom, Unavailable

#: One call of a script: its keys and its arguments.
ScriptCall = tuple[Sequence[str], Sequence[Any]]

LUA = Path(__file__).parent / "lua"

#: How a Redis that is there and has room refuses to write: loading, without its disk or its replicas, a replica itself,
#: kept busy by a script, or not letting this user. Raised inside a script, they come as plain response errors.
REFUSALS = ("LOADING ", "MISCONF ", "NOREPLICAS ", "READONLY ", "MASTERDOWN ", "BUSY ", "NOPERM ")

#: What to tell a client that found Redis away: a supervisor has it back within seconds.
RETRY_AFTER_S = 2.0


#: Of one round trip that carries several calls: Redis ends a connection that has more than a gigabyte under way, which
#: would be the error of all of them.
LOAD_BYTES = 32 * 1024 * 1024

#: What every script has before it.
COMMON = ("reserved", "common", "flights")
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
    """Raise Unavailable in place of Redis' own errors for being away or unable to write, and NoRoom for being full."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise Unavailable("Redis does not answer", retry_after_s=RETRY_AFTER_S) from error
    except OutOfMemoryError as error:
        raise NoRoom("Redis is full", retry_after_s=RETRY_AFTER_S) from error
    except ResponseError as error:
        if "OOM " in str(error):
            raise NoRoom("Redis is full", retry_after_s=RETRY_AFTER_S) from error
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

    def answers(self, name: str, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run script `name` for each (keys, args), gathered into few round trips: the answer of each, or its error.

        What is wrong with one call is its error alone. Unavailable is that of all calls of a round trip that failed:
        whether they ran is unknown then. Raises nothing.
        """
        script = self._script(name)
        found: list[Any] = [self._packed(script, call) for call in calls]
        for places in _loads(found):
            answers = self._known(script, [found[place] for place in places])
            for place, answer in zip(places, answers, strict=True):
                found[place] = answer
        return found

    def _packed(self, script: Script, call: ScriptCall) -> list[bytes] | Exception:
        """The call as Redis is sent it, or the error of what cannot be sent. One at a time: a pipeline packs all of
        its commands together, and one that cannot be packed would fail the others."""
        names, args = call
        try:
            encode = self._redis.get_encoder().encode
            return [encode(part) for part in (script.sha, len(names), *names, *args)]  # type: ignore[no-untyped-call]
        except Exception as error:
            return error

    def _known(self, script: Script, packed: Sequence[list[bytes]]) -> list[Any]:
        """The answers to one round trip, of a Redis that may have to be told the script first."""
        try:
            with renamed():
                answers = self._sent(packed)
                # A Redis that was started anew knows no script, and has run none of these.
                unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
                if unknown:
                    self._redis.script_load(script.script)
                    for i, answer in zip(unknown, self._sent([packed[i] for i in unknown]), strict=True):
                        answers[i] = answer
        except Exception as error:
            return [error] * len(packed)
        return [_renamed(answer) if isinstance(answer, Exception) else answer for answer in answers]

    def _sent(self, packed: Sequence[list[bytes]]) -> list[Any]:
        # Not by calling the script: in a pipeline it would ask before each round trip whether Redis knows it.
        pipe = self._redis.pipeline(transaction=False)
        for command in packed:
            pipe.execute_command("EVALSHA", *command)  # type: ignore[no-untyped-call]
        return pipe.execute(raise_on_error=False)

    def _script(self, name: str) -> Script:
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(source(name))
        return script


def _loads(packed: Sequence[list[bytes] | Exception]) -> Iterator[list[int]]:
    """The places of what can be sent, in round trips of LOAD_BYTES at the most, or of one call that has more."""
    load, size = list[int](), 0
    for place, command in enumerate(packed):
        if isinstance(command, Exception):
            continue
        more = sum(map(len, command))
        if load and size + more > LOAD_BYTES:
            yield load
            load, size = [], 0
        load.append(place)
        size += more
    if load:
        yield load
