"""Kills whichever process of a service sends Redis a certain command: a step that its process does not survive.

Or stops it: then it is as silent as one whose GIL is held.
"""

from __future__ import annotations

import os
import signal
import threading
from types import TracebackType

import psutil
from redis import Redis
from redis.exceptions import RedisError

from tests.support.service import Service


class Killer:
    """`with Killer(service, "word", "word"):` for as long as the block runs; the command has all of these words."""

    def __init__(self, service: Service, *words: str, by: signal.Signals = signal.SIGKILL) -> None:
        self._by = by
        self._service = service
        self._words = words
        self._redis = Redis.from_url(service.valkey.url, decode_responses=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.killed: list[int] = []

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._redis.ping()  # a last line to listen to
        self._thread.join(5)

    def _watch(self) -> None:
        try:
            with self._redis.monitor() as monitor:  # type: ignore[no-untyped-call]
                for said in monitor.listen():
                    if self._over.is_set():
                        return
                    if all(word in said["command"] for word in self._words):
                        self._kill(int(said["client_port"]))
        except RedisError:
            return

    def _kill(self, port: int) -> None:
        # Frozen meanwhile, so that nobody gets far beyond the command before it is dead.
        self._service.valkey.signal(signal.SIGSTOP)
        for worker in self._service.workers:
            for process in self._family(worker.process.pid):
                if process.pid not in self.killed and self._has(process, port):
                    self.killed.append(process.pid)
                    os.kill(process.pid, self._by)
        self._service.valkey.signal(signal.SIGCONT)

    @staticmethod
    def _family(pid: int) -> list[psutil.Process]:
        try:
            return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @staticmethod
    def _has(process: psutil.Process, port: int) -> bool:
        try:
            return any(one.laddr.port == port for one in process.net_connections("tcp4"))
        except psutil.Error:
            return False
