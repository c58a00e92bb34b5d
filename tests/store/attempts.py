"""The state machine's workers: they claim what is delivered, and write what came of it, be it theirs or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tasks.domain.job import Status
from tasks.store import access, keys, places
from tasks.store.access import Waits
from tasks.store.circuits import Told
from tasks.store.claim import Claim, Taker
from tasks.store.jobs import CRASHES_TO_QUARANTINE
from tasks.store.message import Message
from tests.store.clients import LATER_S, PLACES, Clients, any_message
from tests.store.elsewhere import API, LIMIT, MODEL_LIMIT, SERVINGS, Circuit
from tests.store.elsewhere import NAMES as CIRCUITS
from tests.store.model import Seen
from tests.store.promotion import unheard_of
from tests.store.workers import LEASE_S, NAMES

#: Longer than any job's time.
LONG_S = 2 * LATER_S
#: Shorter than any: a hold that outlives a job fails it.
HOLD_S = 60.0
BACK: list[dict[str, Any]] = [
    {},
    {"delay_s": 60.0, "charged": True, "told": Told.FAILED},
    {"told": Told.FAILED},
    {"delay_s": LONG_S, "charged": True},
    {"limit": LIMIT, "hold_s": HOLD_S},
    {"limit": MODEL_LIMIT, "hold_s": HOLD_S},
    {"engine_lost": True},
    {"survived": True},
]
#: What came of an attempt: an end, a refusal of the question, a death that is charged, another place, a refused key, or
#: how it is put back.
Outcome = Status | str | dict[str, Any]
COME_OF_IT: list[Outcome] = [Status.COMPLETED, Status.FAILED, "refused", "crash", "crash", "move", "key", *BACK]
WORKER, OUTCOME = st.sampled_from(NAMES), st.sampled_from(COME_OF_IT)
OUTCOMES = st.lists(OUTCOME, max_size=3)

any_claim = precondition(lambda self: any(seen.claims for seen in self.seen.values()))


class Attempts(Clients):
    """Claims, and what is written under them."""

    # One rule for many outcomes: hypothesis leaves whole rules out of most of its runs, and with them what needs them.

    @any_message
    @rule(place=PLACES, worker=WORKER, may_isolate=st.booleans(), kept=st.booleans(), outcomes=OUTCOMES)
    def deliver(self, place: int, worker: str, may_isolate: bool, kept: bool, outcomes: list[Any]) -> None:
        """One attempt per outcome, as long as each is followed by a message; without any, it takes its time.

        A `kept` message stays with the broker too, and will be delivered once more.
        """
        message = self.broker[place % len(self.broker)] if kept else self.take(place)
        claim = self.claim(message, worker, may_isolate)
        for outcome in outcomes:
            if claim is not None:
                self.write(claim, outcome)
                again = bool(self.broker) and self.broker[-1].job_id == message.job_id
                claim = self.claim(self.take(-1), worker) if again else None

    @any_message
    @rule(worker=WORKER)
    def deliver_all(self, worker: str) -> None:
        while self.broker:
            self.claim(self.take(0), worker)

    @any_claim
    @rule(place=PLACES, stale=st.booleans(), outcome=OUTCOME)
    def write_later(self, place: int, stale: bool, outcome: Any) -> None:
        self.write(self.some_claim(place, stale), outcome)

    @any_message
    @rule(place=PLACES, worker=WORKER)
    def a_claim_is_forgotten(self, place: int, worker: str) -> None:
        """A replica takes over that had not heard of it. Only the worker knows, and the next claim has its number."""
        message = self.broker[place % len(self.broker)]
        taker = Taker(worker=worker, lease_s=LEASE_S, servings=SERVINGS)
        with unheard_of(self.redis):
            claim = self.jobs.take(message.job_id, message.epoch, taker).claim
        if claim is not None:
            self.forgotten.append(claim)

    @precondition(lambda self: bool(self.forgotten))
    @rule(place=PLACES)
    def write_under_a_forgotten_claim(self, place: int) -> None:
        claim = self.forgotten[place % len(self.forgotten)]
        seen = self.seen[claim.job_id]
        if seen.holder == claim.fence and seen.workers[-1] == claim.worker:
            return  # the same worker has claimed it again, and it is one job
        told = Told.ANSWERED
        assert not self.jobs.settle(claim, Status.COMPLETED, outcome="completed", told=told), "another's was ended"
        assert self.jobs.put_back(claim, outcome="put_back", reason="test", told=told) is None
        assert self.jobs.charge_crash(claim, "test") is None
        assert places.move(self.jobs, claim, outcome="failed", reason="test", told=told) is None
        lost = self.workers.hello(claim.worker, [claim])
        assert lost == {(claim.job_id, claim.fence)}, "it keeps another's lease"

    @any_message
    @rule(place=PLACES)
    def resend_while_draining(self, place: int) -> None:
        message = self.take(place)
        self.send(self.jobs.resend(message.job_id, message.epoch))

    def claim(self, message: Message, worker: str, may_isolate: bool = True) -> Claim | None:
        self.look()
        seen = self.seen[message.job_id]
        is_waiting = not seen.is_over and seen.holder is None and not seen.is_following
        is_right = is_waiting and message.epoch == seen.epoch
        self.nobody_is_on_its_way()
        taken = self.jobs.take(
            message.job_id,
            message.epoch,
            Taker(
                worker=worker,
                lease_s=LEASE_S,
                may_isolate=may_isolate,
                alone_from=None if may_isolate else 1,
                servings=SERVINGS,
            ),
        )
        if is_right and seen.overdue:
            seen.end("expired")
        elif is_right and self.elsewhere.has_retired(seen.places[0]):
            if not self.go_on(seen, needs_room=False):
                seen.end("failed")
        elif (
            is_right
            and (may_isolate or not (seen.suspect or seen.engine_losses))
            and self.is_let_in(seen, taken.claim, worker)
        ):
            return taken.claim
        assert taken.claim is None, "a wrong message was let through"
        self.send(self.let_go(taken.waiters.messages))
        return None

    def is_let_in(self, seen: Seen, claim: Claim | None, worker: str) -> bool:
        """Whether it must have been claimed, by its circuit and its limit; if so, it was."""
        key, key_is_free = self.key(seen), self.key(seen).is_free(self.seen)
        circuit, is_free = self.circuit(seen), self.circuit(seen).is_free(self.seen)
        if not (key.lets_in(self.seen) and circuit.lets_in(self.seen)):
            self.go_on(seen)
            return False
        if not self.has_room(seen, claim):
            return False
        assert claim is not None, "a right message was turned away"
        assert claim.is_probe == is_free
        seen.begin(claim, worker)
        circuit.probe = claim if is_free else circuit.probe
        key.probe = claim if key_is_free else key.probe
        return True

    def go_on(self, seen: Seen, *, needs_room: bool = True) -> bool:
        """It leaves for the next place, if there is one."""
        place = self.elsewhere.next_place(self.seen, seen, needs_room=needs_room)
        if place is not None:
            seen.move(place)
        return place is not None

    def circuit(self, seen: Seen) -> Circuit:
        return self.elsewhere.circuits[seen.places[0].queue]

    def key(self, seen: Seen) -> Circuit:
        return self.elsewhere.keys[seen.places[0].queue]

    def nobody_is_on_its_way(self) -> None:
        """To try a circuit: whoever was sent had the time."""
        for name in CIRCUITS:
            self.redis.hdel(keys.circuit(name), "sent_at")

    def write(self, claim: Claim, outcome: Outcome) -> None:
        self.call_over(claim, outcome)
        match outcome:
            case Status():
                self.settle(claim, outcome)
            case "refused":
                self.settle(claim, Status.FAILED, refused=True)
            case dict():
                self.put_back(claim, outcome)
            case "move" if claim.places:
                self.move(claim)
            case "move":
                self.put_back(claim, {})
            case "key":
                self.refuse_key(claim)
            case _:
                self.crash(claim)

    def settle(self, claim: Claim, status: Status, *, refused: bool = False) -> None:
        told = Told.ANSWERED if status is Status.COMPLETED else None
        result = f'"{claim.job_id}.{claim.fence}"'
        error = {"error_code": "bad_request", "error_message": "no"} if refused else {}
        written = self.jobs.settle(claim, status, outcome=status.value, fields={"result": result, **error}, told=told)
        if self.minded(claim, written):
            seen = self.seen[claim.job_id]
            seen.result, seen.refused = result, refused
            self.circuit(seen).tell(claim, told)
            if told:
                self.key(seen).prove(claim)
            seen.end(status.value)

    def move(self, claim: Claim) -> None:
        self.nobody_is_on_its_way()
        back = places.move(self.jobs, claim, outcome="failed", reason="test", survived=False, told=Told.FAILED)
        if self.minded(claim, back is not None):
            seen = self.seen[claim.job_id]
            self.circuit(seen).tell(claim, Told.FAILED)
            if not self.go_on(seen, needs_room=False):
                seen.move(seen.places[-1])
            self.send(back)

    def put_back(self, claim: Claim, how: dict[str, Any]) -> None:
        back = self.jobs.put_back(claim, outcome="put_back", reason="test", **how)
        if self.minded(claim, back is not None):
            seen = self.seen[claim.job_id]
            self.circuit(seen).tell(claim, how.get("told"))
            seen.leave()
            seen.tries += how.get("charged", False)
            seen.engine_losses += how.get("engine_lost", False)
            seen.suspect = seen.suspect and not how.get("survived", False)
            if "limit" in how:
                self.hold()
            if "limit" in how and seen.overdue:
                seen.end("failed")  # the limit leaves no room before its deadline
            else:
                self.send(back)

    def refuse_key(self, claim: Claim) -> None:
        waits = access.wait(self.jobs, claim, why="authentication_failed")
        if self.minded(claim, waits is not Waits.GONE):
            seen = self.seen[claim.job_id]
            self.key(seen).tell(claim, Told.FAILED)
            seen.leave()
            seen.suspect = False

    def crash(self, claim: Claim) -> None:
        back = self.jobs.charge_crash(claim, "test")
        if self.minded(claim, back is not None):
            seen = self.seen[claim.job_id]
            seen.crash(CRASHES_TO_QUARANTINE)
            assert bool(back) == (not seen.quarantined)
            self.send(back)

    def minded(self, claim: Claim, written: bool) -> bool:
        """Whether it was written, which it must be under the holder's fence and under no other."""
        assert written == self.seen[claim.job_id].may_write(claim), "a fence was not minded"
        return written

    def hold(self) -> None:
        self.held_until_s = max(self.held_until_s, self.clock_s + HOLD_S)

    # ---- what a governor adds (governed.py) ----

    def has_room(self, seen: Seen, claim: Claim | None) -> bool:
        """Whether there was room for the call of a job whose message led to this claim."""
        return not (self.is_held and seen.places[0] is API)

    def let_go(self, messages: Sequence[Message]) -> Sequence[Message]:
        """These were let go by a limit."""
        return messages

    def call_over(self, claim: Claim, outcome: Outcome) -> None:
        """An attempt's call is over, and what comes of it will be written next."""

    def call_closed(self, claim: Claim) -> None:
        """The sweep is about to find that nobody will tell any more what became of a call."""

    def some_claim(self, place: int, stale: bool) -> Claim:
        """One that may be written under, if there is any; with `stale` perhaps one that was given up long ago."""
        claims = [claim for seen in self.seen.values() for claim in seen.claims]
        live = [claim for claim in claims if self.seen[claim.job_id].may_write(claim)]
        pool = claims if stale or not live else live
        return pool[place % len(pool)]
