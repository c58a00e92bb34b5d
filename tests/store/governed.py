"""The state machine with a governor: small limits on the provider's key and on the one model, and time that passes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.claim import Claim
from tasks.store.limits import Limits
from tasks.store.message import Message
from tasks.store.rate import CallOver, Ended
from tests.store.attempts import HOLD_S, OUTCOME, WORKER, Outcome, any_claim
from tests.store.books import DAY_S, FLIGHT_S, QUOTAS, WINDOW_S, Books, policy
from tests.store.clients import LATER_S, PLACES
from tests.store.elsewhere import BREAKER, LIMIT, LIMITS, Circuit
from tests.store.lifecycle import Lifecycle
from tests.store.model import Seen

#: Longer than a window and a grant.
SOME_S = 700.0
#: No sum of these is a window, a grant, or the longest call.
TIMES = st.sampled_from([250.0, SOME_S, SOME_S, 10_010.0, DAY_S])
#: How calls go, in turn: how often they are sent, when (at once, just before the answer, unknown), and their tokens.
MANNERS: list[tuple[int, str, int | None]] = [
    (1, "at once", 40), (1, "unknown", None), (0, "at once", None), (2, "late", 10), (1, "late", 0),
]  # fmt: skip

#: What a busy worker does: it takes a message, writes what came of a call, or waits for the limits so long.
DOING = st.one_of(st.just("take"), st.just(Status.COMPLETED), OUTCOME, TIMES)


class Governed(Lifecycle):
    """All of it under limits, at the one place that has them."""

    @initialize(guessed=st.booleans())
    def begin(self, guessed: bool) -> None:
        self.policy, self.breaker = policy(guessed=guessed), replace(BREAKER, failures=10**9)
        self.books = Books(redis=self.redis, guessed=guessed)
        self.limits = Limits(self.redis, policy=self.policy)
        self.manners = itertools.cycle(MANNERS)
        super().begin()

    @invariant()
    def look(self) -> None:
        super().look()
        if hasattr(self, "books"):
            self.books.check()
            self.does_anybody_wait = bool(self.redis.exists(*map(keys.parked, LIMITS)))

    @rule(seconds=TIMES)
    def time_passes(self, seconds: float) -> None:
        """For the limits only: jobs and leases have rules of their own for that."""
        self.books.pass_time(seconds)
        self.clock_s = self.books.clock_s
        for limit in LIMITS:
            self.limits.standing(limit)  # looking at it strikes out what no longer counts

    @precondition(lambda self: len(self.unfinished()) < 8)
    @rule(jobs=st.integers(1, 4), worker=WORKER, doing=st.lists(DOING, min_size=6, max_size=16), place=PLACES)
    def rush(self, jobs: int, worker: str, doing: list[Outcome | float], place: int) -> None:
        """Jobs come at once, and a worker is busy with them; what it has in hand in the end goes on."""
        for _ in range(jobs):
            self.accept(None, "a", LATER_S, sent=True, asked=None, priority=0, way="api")
        for what in doing:
            if isinstance(what, float):
                self.time_passes(what)
                self.send(self.let_go(self.due.let_go()))
            elif what != "take" and any(seen.claims for seen in self.seen.values()):
                self.write(self.some_claim(place, stale=False), what)
            elif self.broker:
                self.claim(self.take(-(place % 2)), worker)

    def way(self, way: str) -> str:
        return "api"

    def circuit(self, seen: Seen) -> Circuit:
        return Circuit()  # none opens

    def refuse_key(self, claim: Claim) -> None:
        self.put_back(claim, {})

    # ---- what a claim meets ----

    def has_room(self, seen: Seen, claim: Claim | None) -> bool:
        job_id = seen.new.job_id
        call = f"{job_id}.{seen.epoch + 1}"
        if claim is not None:
            assert not self.is_held, "begun in spite of a hold"
            self.books.begin(call)
            return True
        if not self.is_held:
            assert not self.books.is_promised(call), "turned away from room that was kept for it"
            assert self.does_anybody_wait or not self.books.are_empty(), "turned away from an empty house"
        self.books.promised.pop(call, None)
        if self.redis.hget(keys.job(job_id), "status") == "failed":
            self.gave_up(job_id)
        return False

    def gave_up(self, job_id: str) -> None:
        """A job that no waiting helps."""
        seen = self.seen[job_id]
        assert self.redis.hget(keys.job(job_id), "error_code") == "limit_exceeds_deadline"
        is_day_over = self.books.today() + len(self.unfinished()) > QUOTAS[LIMIT].rpd
        assert is_day_over or seen.new.expires_in_s < LATER_S, "given up although it had time"
        seen.end("failed")

    def let_go(self, messages: Sequence[Message]) -> Sequence[Message]:
        for message in messages:
            self.books.promise(f"{message.job_id}.{message.epoch + 1}")
        return messages

    # ---- what becomes of a call ----

    def call_over(self, claim: Claim, outcome: Outcome) -> None:
        """Told, as by a worker, before the outcome is written; by one whose job is not its own any more, too."""
        over = self.told(claim, outcome)
        if self.books.is_cut_off(claim.call_id):
            self.books.lapse(claim.call_id)
        ours, before = claim.call_id in self.books.begun, self.books.read()
        is_refused = over.ended is Ended.REFUSED
        if ours:
            sent_s = None if over.sent_s is None else self.books.begun[claim.call_id] + over.sent_s
            self.books.end(claim.call_id, sends=over.sends, sent_s=sent_s)
        waiters = self.jobs.call_over(over)
        if is_refused:
            self.hold()
        after = self.books.read()
        for limit in LIMITS:
            if not ours:
                for name in ("refused", "asked", "day_used"):
                    rose = after[limit].number(name) - before[limit].number(name)
                    assert rose == 0, f"{name} was counted for a call that was over"
                # The same step lets others go, and so may raise what was learned, or forget it.
                learned = [one[limit].number("learned") for one in (before, after)]
                assert learned[1] == 0 or learned[1] >= learned[0], "lowered for a call that was over"
            elif over.ended is Ended.ANSWERED:
                assert "trial" not in after[limit].said, "answered, and still on trial"
            elif is_refused and limit == over.limit:
                known = self.books.limit_of(limit, before[limit])
                most = max(self.books.in_window(), math.ceil(max(known, before[limit].number("lowered_from")) / 2))
                assert 1 <= after[limit].number("learned") <= min(known, most), "nothing was learned"
                self.books.refused_s = self.clock_s
            if ours and limit == LIMIT:
                took = 0 if over.sends == 0 else over.tokens
                booked = before[limit].spent.get(claim.call_id, 0)
                assert after[limit].spent.get(claim.call_id, 0) == (booked if took is None else took), "other tokens"
        self.send(self.let_go(waiters.messages))

    def told(self, claim: Claim, outcome: Outcome) -> CallOver:
        """What a worker says of a call, whose claim lies as far back as time was moved since."""
        sends, when, tokens = next(self.manners)
        age_ms = self.books.age_ms(claim.call_id)
        sent_s = {"at once": 0.0, "late": age_ms / 1000, "unknown": None}[when]
        claim = replace(claim, claimed_ms=claim.claimed_ms - age_ms)
        match outcome:
            case Status():
                return CallOver(claim=claim, ended=Ended.ANSWERED, sends=max(1, sends), sent_s=sent_s, tokens=tokens,
                                answer_tokens=min(5, tokens or 0))  # fmt: skip
            case {"limit": str(limit)}:
                sends = max(0, sends - 1)
                return CallOver(claim=claim, ended=Ended.REFUSED, sends=sends, sent_s=sent_s, tokens=0, limit=limit,
                                hold_s=HOLD_S)  # fmt: skip
            case _:
                return CallOver(claim=claim, ended=Ended.FAILED, sends=sends, sent_s=sent_s, tokens=tokens)

    @any_claim
    @rule(place=PLACES, stale=st.booleans())
    def send_late(self, place: int, stale: bool) -> None:
        """A call is sent only now; one that has no room any more is given up, and was never sent."""
        claim = self.some_claim(place, stale)
        counted_s = -self.books.age_ms(claim.call_id) / 1000
        may = self.jobs.book_sending(claim, counted_s=counted_s)
        if claim.call_id not in self.books.begun or self.books.is_cut_off(claim.call_id):
            assert may, "a call that is over is nobody's affair"
        elif may:
            assert not self.is_held, "sent in spite of a hold"
            self.books.send(claim.call_id)
        else:
            in_window = self.books.clock_s - self.books.begun[claim.call_id] < WINDOW_S
            assert self.is_held or not in_window, "its own room was taken from it"

    def cut(self, seen: Seen) -> None:
        if seen.holder is not None:
            self.books.cut(f"{seen.new.job_id}.{seen.holder}")

    def call_closed(self, claim: Claim) -> None:
        if claim.call_id in self.books.begun:
            self.books.end(claim.call_id, sends=1, sent_s=None)

    # ---- the end ----

    def some_time_passes(self) -> None:
        super().some_time_passes()
        if self.is_ending:
            is_day_over = self.books.today() + QUOTAS[LIMIT].calls >= QUOTAS[LIMIT].rpd
            self.time_passes(DAY_S if is_day_over else SOME_S)

    is_ending = False

    def teardown(self) -> None:
        """Everything ends, and then nothing is left in the books."""
        if not hasattr(self, "books"):
            return
        self.time_passes(DAY_S)
        self.is_ending = True
        super().teardown()
        self.time_passes(FLIGHT_S + SOME_S)
        self.due.let_go()
        self.books.check_empty()
