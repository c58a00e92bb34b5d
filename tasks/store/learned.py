"""What calls and the providers' own lists have told of models. It is worth remembering, and nothing depends on it but
this: a retired model is not asked for again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from functools import cache
from typing import cast

from redis import Redis

from tasks import settings
from tasks.domain.job import from_ms
from tasks.domain.standing import Lesson, Listing, Standing, State
from tasks.store import connection, keys
from tasks.store.scripts import Scripts, renamed

#: A lesson that says what the last one said is written this often at the most, per process.
AGAIN_S = 10.0
#: A retirement is believed for a day; then jobs are let through until the next 410, should the provider have thought
#: better of it.
RETIRED_S = 24 * 3600
#: Names that are remembered per provider: the sandbox's are of the clients' making, so there is no end of them.
MOST_NAMES = 2000
#: How old a look at a provider's list may be where a POST needs one: the list changes once an hour.
LOOK_S = 1.0
#: Jobs looked at in one step when a model's queued jobs are failed.
STEP = 500


class Learned:
    """What is known of models at providers, on one Redis. Every method raises Unavailable."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, frozenset[str]]] = {}
        self._noted: dict[tuple[str, str], tuple[State, float]] = {}

    # ---- from calls ----

    def note(self, provider: str, model: str, lesson: Lesson) -> bool:
        """Remember a lesson; False when this process has just written the same, so that a call costs no write."""
        if self._is_known(provider, model, lesson.state):
            return False
        names = [keys.learned(provider), keys.retired(provider, model)]
        args = [model, lesson.state.value, lesson.retired_on or "", lesson.why, RETIRED_S, MOST_NAMES]
        self._scripts.call("learn", names, args)
        with self._lock:
            if len(self._noted) >= MOST_NAMES:
                self._noted.clear()
            self._noted[provider, model] = (lesson.state, time.monotonic())
        return True

    def _is_known(self, provider: str, model: str, state: State) -> bool:
        with self._lock:
            said, at = self._noted.get((provider, model), (None, 0.0))
        return said is state and time.monotonic() - at < AGAIN_S

    def standings(self, provider: str) -> dict[str, Standing]:
        """What is known at a provider, by its own ids."""
        with renamed():
            said = cast(dict[str, str], self._redis.hgetall(keys.learned(provider)))
        return {model: _standing(json.loads(text)) for model, text in said.items()}

    def why_retired(self, provider: str, model: str) -> str | None:
        """What to tell those who ask for a retired model; None when it is not known to be one."""
        with renamed():
            return cast(str | None, self._redis.get(keys.retired(provider, model)))

    def fail_queued(self, provider: str, model: str, *, queue: str, is_default: bool) -> int:
        """Fail the jobs that wait in `queue` for a retired model, `is_default` those that named none too; how many."""
        why, failed, cursor = self.why_retired(provider, model), 0, "0"
        while why is not None:
            args = [cursor, STEP, queue, model, int(is_default), why, self._ttl_s]
            cursor, count = self._scripts.call("fail_retired", [keys.DUE], args)
            failed += int(count)
            if cursor == "0":
                break
        return failed

    # ---- from the providers' lists ----

    def may_list(self, provider: str, every_s: int) -> bool:
        """Whether it is the caller's turn to ask the provider for its list: nobody else's for `every_s` from now."""
        with renamed():
            return bool(self._redis.set(keys.listing(provider), 1, nx=True, ex=every_s))

    def list_again(self, provider: str, in_s: int) -> None:
        """Let somebody ask again after `in_s`: there was no list."""
        with renamed():
            self._redis.expire(keys.listing(provider), in_s)

    def keep_list(self, provider: str, ids: Iterable[str]) -> None:
        """Remember a provider's list."""
        said = ["ids", json.dumps(sorted(ids)), "at", str(int(time.time() * 1000))]
        with renamed():
            self._redis.hset(keys.listed(provider), items=said)

    def listing(self, provider: str) -> Listing | None:
        """The provider's list as of last time, if it was ever had."""
        with renamed():
            ids, at = cast(list[str | None], self._redis.hmget(keys.listed(provider), "ids", "at"))
        when = from_ms(at)
        return Listing(ids=frozenset(json.loads(ids)), at=when) if ids and when else None

    def lately_listed(self, provider: str) -> frozenset[str]:
        """The ids in it as of LOOK_S ago at the most; none while there is no list."""
        at, ids = self._seen.get(provider, (float("-inf"), frozenset()))
        if time.monotonic() - at > LOOK_S:
            listing = self.listing(provider)
            ids = listing.ids if listing else frozenset()
            self._seen[provider] = (time.monotonic(), ids)
        return ids


def _standing(said: dict[str, str]) -> Standing:
    return Standing(
        state=State(said["state"]), checked_at=from_ms(said["checked_at"]), retired_on=said.get("retired_on") or None
    )


@cache
def default() -> Learned:
    """What is known on this process' Redis."""
    return Learned(connection.default(), ttl_s=settings.get().job_ttl_s)
