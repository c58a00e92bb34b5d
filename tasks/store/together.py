"""Calls of one script by many threads, gathered: who comes while a round trip is under way goes with the next one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from tasks.store.scripts import Scripts

#: Calls in one round trip. With more of them the first would wait for the last, and its thread have nothing to do.
AT_ONCE = 16


class _Wanted:
    """One thread's call. `moved` is set when it has its answer, or is to take the next ones along itself."""

    __slots__ = ("answer", "args", "error", "is_answered", "keys", "moved")

    def __init__(self, keys: Sequence[str], args: Sequence[Any]) -> None:
        self.keys = keys
        self.args = args
        self.answer: Any = None
        self.error: BaseException | None = None
        self.is_answered = False
        self.moved = threading.Event()


class Together:
    """The calls of script `name`. Alone, a call goes at once; its round trip is what the others wait for."""

    def __init__(self, scripts: Scripts, name: str) -> None:
        self._scripts = scripts
        self._name = name
        self._lock = threading.Lock()
        self._waiting: list[_Wanted] = []
        self._is_under_way = False

    def call(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script. Raises Unavailable when Redis is away or full; whether it ran is unknown then.

        What is wrong with another thread's call is that thread's error alone.
        """
        mine = _Wanted(keys, args)
        with self._lock:
            self._waiting.append(mine)
            leads, self._is_under_way = not self._is_under_way, True
        if not leads:
            mine.moved.wait()
        if not mine.is_answered:
            self._send()
        if mine.error is not None:
            raise mine.error
        return mine.answer

    def _send(self) -> None:
        """Send those who wait, ours first; then the first of those who wait still sends the next."""
        with self._lock:
            group, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
        try:
            found = self._scripts.answers(self._name, [(one.keys, one.args) for one in group])
        except BaseException as error:
            found = [error] * len(group)
        for one, answer in zip(group, found, strict=True):
            one.error, one.answer = (answer, None) if isinstance(answer, BaseException) else (None, answer)
            one.is_answered = True
            one.moved.set()
        with self._lock:
            self._is_under_way = bool(self._waiting)
            if self._waiting:
                self._waiting[0].moved.set()
