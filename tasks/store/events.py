"""Word by pub/sub: which job has just ended, which running call must be cut. Only hints: the record decides."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache

import structlog
from redis import Redis
from redis.exceptions import ConnectionError

from tasks.domain.redis_address import HEALTH_S
from tasks.store import connection, keys

log = structlog.get_logger()

#: How long a listener waits before it subscribes again after Redis went away.
RECONNECT_S = 0.5
#: A listener that hears nothing asks whether Redis is there; after so long without an answer its connection is dead.
DEAF_S = 2 * HEALTH_S
#: How often a listener looks whether it shall stop.
LOOK_S = 1.0


class Listener:
    """A thread that calls `heard(job_id)` for every id on a channel, and `missed()` when some may have been missed."""

    def __init__(
        self, redis: Redis, channel: str, heard: Callable[[str], None], missed: Callable[[], None] | None = None
    ) -> None:
        self._redis = redis
        self._channel = channel
        self._heard = heard
        self._missed = missed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listen-{channel}", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; returns when the thread has let go of its connection, after a second at the most."""
        self._stopped.set()
        self._thread.join(2 * LOOK_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except Exception as error:  # a listener that died would leave every later word unheard
                log.warning("listener.lost", channel=self._channel, error=type(error).__name__)
                self._stopped.wait(RECONNECT_S)

    def _listen(self) -> None:
        with self._redis.pubsub() as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(self._channel)
            if self._missed is not None:
                self._missed()
            alive_at = asked_at = time.monotonic()
            while not self._stopped.is_set():
                message = pubsub.get_message(timeout=LOOK_S)
                now = time.monotonic()
                if message is not None:
                    alive_at = now
                elif now - alive_at > DEAF_S:
                    raise ConnectionError("nothing was heard, and no answer")
                elif now - max(alive_at, asked_at) > HEALTH_S:
                    pubsub.ping()
                    asked_at = now
                if message is not None and message["type"] == "message":
                    self._heard(message["data"])


class Waiters:
    """Threads that wait for jobs to end, served by one listener."""

    def __init__(self, redis: Redis) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[threading.Event]] = defaultdict(list)
        self._listener = Listener(redis, keys.SETTLED, self._wake, self._wake_all)
        self._listener.start()

    def wait(self, job_id: str, is_over: Callable[[], bool], timeout_s: float) -> bool:
        """Return as soon as `is_over()`, asked again at every word of the job, or False after `timeout_s`."""
        ends_at = time.monotonic() + timeout_s
        event = threading.Event()
        with self._lock:
            self._waiting[job_id].append(event)
        try:
            while not is_over():
                if not event.wait(max(0.0, ends_at - time.monotonic())):
                    return is_over()
                event.clear()
            return True
        finally:
            self._forget(job_id, event)

    def stop(self) -> None:
        """Listen no more."""
        self._listener.stop()

    def _forget(self, job_id: str, event: threading.Event) -> None:
        with self._lock:
            self._waiting[job_id].remove(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def _wake(self, job_id: str) -> None:
        with self._lock:
            for event in self._waiting.get(job_id, ()):
                event.set()

    def _wake_all(self) -> None:
        with self._lock:
            for events in self._waiting.values():
                for event in events:
                    event.set()


@cache
def waiters() -> Waiters:
    """This process' waiters."""
    return Waiters(connection.default())
