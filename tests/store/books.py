"""What the governor's books must say, whatever its scripts do: the reference that they are compared with.

All calls here are of one model, so each counts for the provider's key and for the model.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from redis import Redis

from tasks.domain.quota import Quota
from tasks.store import keys
from tests.store import clock
from tests.store.elsewhere import LIMIT, LIMITS, MODEL_LIMIT

#: So long that a machine which stands still for a while makes no difference.
WINDOW_S, ARRIVAL_S, GRANT_S, LONGEST_S = 600.0, 10.0, 150.0, 1000.0
DAY_S = 1440 * WINDOW_S
#: How long a call may be in flight without a word, and how long once its job was ended from outside.
FLIGHT_S, CUT_S = LONGEST_S + WINDOW_S, 15.0
QUOTAS = {LIMIT: Quota(rpm=4, tpm=120, rpd=6, calls=3), MODEL_LIMIT: Quota(rpm=3, calls=2)}


def policy(*, guessed: bool) -> str:
    """The quotas and times as the scripts take them; `guessed` may be exceeded to see whether more is let through."""
    times = {"window": WINDOW_S, "arrival": ARRIVAL_S, "grant": GRANT_S, "longest": LONGEST_S}
    scopes = {name: asdict(quota) | {"guessed": guessed} for name, quota in QUOTAS.items()}
    return json.dumps({name: int(seconds * 1000) for name, seconds in times.items()} | {"scopes": scopes})


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A scope's books as they are in Redis: what still counts, and until when (ms)."""

    requests: dict[str, float]
    calls: dict[str, float]
    tokens: dict[str, float]
    spent: dict[str, int]
    said: dict[str, str]

    def number(self, name: str) -> int:
        """A number that the limit's hash has; 0 without."""
        return int(float(self.said.get(name, 0)))


@dataclass
class Books:
    """What the outside knows of all calls. Moments are seconds of the machine's own clock."""

    redis: Redis
    guessed: bool
    clock_s: float = 0.0
    #: Calls in flight, and those that were let go: since when.
    begun: dict[str, float] = field(default_factory=dict)
    promised: dict[str, float] = field(default_factory=dict)
    #: Those in flight whose job was ended from outside: when.
    cut_at: dict[str, float] = field(default_factory=dict)
    #: When those arrived that are over.
    arrived: list[float] = field(default_factory=list)
    days: Counter[tuple[int, int]] = field(default_factory=Counter)
    refused_s: float = -math.inf
    #: All calls that were ever begun.
    known: set[str] = field(default_factory=set)
    last: dict[str, Scope] = field(default_factory=dict)

    # ---- what happens ----

    def promise(self, call: str) -> None:
        """A job was let go, its room kept."""
        self._check_room(call, "let go without room")
        self.promised[call] = self.clock_s

    def begin(self, call: str) -> None:
        """A call was begun, in room of its own or in what was kept for it."""
        if not self.is_promised(call):
            self._check_room(call, "begun without room")
        self.promised.pop(call, None)
        self.begun[call] = self.clock_s
        self.known.add(call)
        self.days[self._day()] += 1

    def end(self, call: str, *, sends: int, sent_s: float | None) -> None:
        """A call in flight is over, having been sent so often, first at `sent_s` (None: nobody knows)."""
        begun_s = self.begun.pop(call)
        self.cut_at.pop(call, None)
        self.days[self._day(begun_s)] -= sends == 0
        self.days[self._day()] += max(0, sends - 1)
        self.arrived += [self.clock_s if sent_s is None else sent_s][:sends] + [self.clock_s] * (sends - 1)

    def send(self, call: str) -> None:
        """A call in flight is sent only now, and so counts from now."""
        if self.clock_s - self.begun[call] >= WINDOW_S + ARRIVAL_S:
            for limit, here in self.read().items():
                assert self.in_window() < self.limit_of(limit, here), f"{limit}: sent without room"
        if self._day(self.begun[call]) != self._day():
            self.days[self._day()] += 1
        self.begun[call] = self.clock_s

    def cut(self, call: str) -> None:
        """The job of a call was ended from outside: unless a word comes soon, it is over."""
        if call in self.begun:
            self.cut_at[call] = self.clock_s

    def is_cut_off(self, call: str) -> bool:
        """Whether nobody waits for a word of it any more."""
        return call in self.cut_at and call not in self.read()[LIMIT].calls

    def lapse(self, call: str) -> None:
        """A call is over without a word; it counts as sent when it was begun."""
        self.arrived.append(self.begun.pop(call))
        self.cut_at.pop(call, None)

    def pass_time(self, seconds: float) -> None:
        """Time passes for the scripts too."""
        clock.pass_time(self.redis, LIMITS, seconds)
        for limit in LIMITS:
            if seconds == DAY_S and self.redis.hexists(keys.limit(limit), "day"):
                self.redis.hincrby(keys.limit(limit), "day", -1)
        self.clock_s += seconds
        self.promised = {call: at for call, at in self.promised.items() if self.clock_s - at < GRANT_S}
        silent = [call for call, at in self.begun.items() if self.clock_s - at >= FLIGHT_S]
        silent += [call for call, at in self.cut_at.items() if self.clock_s - at >= CUT_S and call not in silent]
        for call in silent:
            self.lapse(call)

    # ---- what is known ----

    def is_promised(self, call: str) -> bool:
        """Whether room is kept for it."""
        return call in self.promised

    def in_window(self) -> int:
        """Requests that have arrived, or may have, within a window."""
        return sum(self.clock_s - at < WINDOW_S for at in (*self.arrived, *self.begun.values()))

    def today(self) -> int:
        """Requests of this day."""
        return self.days[self._day()]

    def are_empty(self) -> bool:
        """Whether there is room without any doubt."""
        lately = any(self.clock_s - at < WINDOW_S + 2 * ARRIVAL_S for at in self.arrived)
        return not (lately or self.begun or self.promised or self.today())

    def age_ms(self, call: str) -> int:
        """How long ago a call in flight was begun."""
        return int((self.clock_s - self.begun.get(call, self.clock_s)) * 1000)

    def _day(self, at_s: float | None = None) -> tuple[int, int]:
        # Midnight comes while the tests run, too.
        moved = self.clock_s if at_s is None else at_s
        return int(moved // DAY_S), int(time.time() // DAY_S)

    # ---- what must hold ----

    def read(self) -> dict[str, Scope]:
        """All that Redis has, and still counts."""
        pipe, now_ms = self.redis.pipeline(transaction=False), time.time() * 1000
        for limit in LIMITS:
            for name in (keys.requests(limit), keys.calls(limit), keys.tokens(limit)):
                pipe.zrange(name, 0, -1, withscores=True)
            pipe.hgetall(keys.spent(limit))
            pipe.hgetall(keys.limit(limit))
        told = iter(pipe.execute())
        return {limit: _scope(now_ms, *(next(told) for _ in range(5))) for limit in LIMITS}

    def check(self) -> None:
        """What must hold at any time."""
        now_ms, lasts = time.time() * 1000, WINDOW_S + ARRIVAL_S + 0.1
        for limit, here in self.read().items():
            in_flight = self.begun.keys() | self.promised.keys()
            # The machine may stand still for longer than a call that was cut is waited for.
            assert in_flight - self.cut_at.keys() <= here.calls.keys() <= in_flight, f"{limit}: other calls in flight"
            assert len(here.calls) <= QUOTAS[limit].calls, f"{limit}: too many calls at a time"
            assert len(here.requests) >= self.in_window() + len(self.promised), f"{limit}: a request was forgotten"
            named = {".".join(call.split(".")[:2]) for call in here.requests | here.tokens}
            assert named <= self.known | self.promised.keys(), f"{limit}: counted, and never begun"
            assert here.tokens.keys() == here.spent.keys(), f"{limit}: tokens without an end"
            assert here.number("spent") == sum(here.spent.values()), f"{limit}: tokens do not add up"
            assert all(until <= now_ms + lasts * 1000 for until in here.requests.values()), f"{limit}: counted too long"
            ends = [*here.calls.values(), *here.tokens.values()]
            assert all(until <= now_ms + FLIGHT_S * 1000 for until in ends), f"{limit}: kept too long"
            self._check_learned(limit, here)
            self.last[limit] = here

    def check_empty(self) -> None:
        """After a long while of silence."""
        for limit, here in self.read().items():
            left = {**here.requests, **here.calls, **here.tokens, **here.spent}
            assert not left, f"{limit}: never given back"
            assert here.number("spent") == 0

    def _check_learned(self, limit: str, here: Scope) -> None:
        learned, before = here.number("learned"), self.last[limit].number("learned") if limit in self.last else 0
        if learned:
            assert self.guessed or learned <= QUOTAS[limit].rpm, f"{limit}: learned more than was set"
        if before and learned > before:
            assert learned <= max(before + 1, math.ceil(before * 1.25)), f"{limit}: rose too fast"
            assert self.clock_s - self.refused_s > WINDOW_S, f"{limit}: rose too soon"

    def limit_of(self, limit: str, here: Scope) -> int:
        """The requests per window that count now."""
        learned, rpm = here.number("learned"), QUOTAS[limit].rpm
        return (learned if self.guessed else min(learned, rpm)) if learned else rpm

    def _check_room(self, call: str, what: str) -> None:
        booked = len(self.promised)
        for limit, here in self.read().items():
            quota = QUOTAS[limit]
            assert self.in_window() + booked < self.limit_of(limit, here), f"{limit}: {what} among requests"
            assert len(self.begun) + booked < quota.calls, f"{limit}: {what} among calls"
            assert not (here.said.get("trial") and (self.begun or booked)), f"{limit}: {what}, on trial"
            assert not quota.rpd or self.today() + booked < quota.rpd, f"{limit}: {what} on this day"
            assert not quota.tpm or here.number("spent") <= quota.tpm, f"{limit}: {what} among tokens"
            assert not quota.tpm or here.spent.get(call, 0) >= 10, f"{limit}: {what}, its tokens not booked"


def _scope(now_ms: float, requests: Any, calls: Any, tokens: Any, spent: Any, said: Any) -> Scope:
    return Scope(
        requests={call: until for call, until in requests if until > now_ms},
        calls={call: until for call, until in calls if until > now_ms},
        tokens=dict(tokens),
        spent={call: int(number) for call, number in spent.items()},
        said=said,
    )
