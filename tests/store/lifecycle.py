"""The state machine as a whole: clients, workers and their deaths, the sweep, and time.

Time is moved by setting back what is due and who was last seen when, so that an hour takes no hour.
"""

from __future__ import annotations

import time

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tasks.domain.job import Status
from tasks.domain.standing import Lesson, State
from tasks.store import keys
from tasks.store.places import Place
from tests.store.attempts import WORKER, Attempts, any_claim
from tests.store.clients import FIRST, PLACES
from tests.store.elsewhere import ALL, API, GPU, LIMIT, LIMITS, QUEUE, Circuit, key_name, name
from tests.store.elsewhere import NAMES as CIRCUITS
from tests.store.model import BATCH
from tests.store.workers import MOMENTS, NAMES

any_unfinished = precondition(lambda self: bool(self.unfinished()))


class Lifecycle(Attempts):
    """All of it, with the deaths of workers, and the sweep."""

    # ---- whether workers live ----

    @any_claim
    @rule(worker=WORKER)
    def hello(self, worker: str) -> None:
        """A worker holds on to all it ever claimed, and is told what is not its own any more."""
        held = [claim for seen in self.seen.values() for claim in seen.claims_of(worker)]
        kept = [claim for claim in held if self.seen[claim.job_id].may_write(claim)]
        told = self.workers.hello(worker, held)
        assert told == {(claim.job_id, claim.fence) for claim in held if claim not in kept}
        for claim in kept:
            assert (self.redis.zscore(keys.DUE, claim.job_id) or 0) > time.time() * 1000, "the lease was not pushed on"

    @any_claim
    @rule(worker=WORKER)
    def goodbye(self, worker: str) -> None:
        """In order, although it may hold something still."""
        self.workers.goodbye(worker)

    @any_claim
    @rule(place=PLACES, moment=st.sampled_from(MOMENTS), late=st.booleans())
    def fall_silent(self, place: int, moment: float, late: bool) -> None:
        """The holder of some job dies, and all that it holds is due."""
        job_id = self.some_claim(place, stale=False).job_id
        worker = self.seen[job_id].workers[-1]
        self.workers.fall_silent(worker, moment, late)
        for job_id, seen in self.seen.items():
            if seen.holder is not None and seen.workers[-1] == worker:
                self.come(job_id)

    # ---- the model ----

    @rule(retired=st.booleans(), walk=st.booleans())
    def retire_the_model_or_take_it_back(self, retired: bool, walk: bool) -> None:
        """Without the walk, jobs that wait for it fail when they are claimed."""
        self.learned.note(LIMIT, "model", Lesson(state=State.RETIRED if retired else State.CALLABLE, why="retired"))
        self.elsewhere.is_retired = retired
        if walk:
            pending = [seen for seen in self.seen.values() if not seen.is_over and seen.holder is None and retired]
            waiting = [seen for seen in pending if seen.places == (API,)]
            assert self.learned.fail_queued(LIMIT, "model", queue=QUEUE, is_default=True) == len(waiting)
            for seen in waiting:
                seen.end("failed")
            self.collect()

    @precondition(lambda self: any(circuit.is_open for circuit in self.all_circuits().values()))
    @rule()
    def the_circuits_time_is_over(self) -> None:
        for its_name, circuit in self.all_circuits().items():
            if circuit.is_open:
                self.redis.hset(keys.circuit(its_name), "until", 1)
                circuit.lapsed = True

    def all_circuits(self) -> dict[str, Circuit]:
        of_models = {name(place): self.elsewhere.circuits[place.queue] for place in ALL}
        return of_models | {key_name(place): self.elsewhere.keys[place.queue] for place in ALL}

    @rule(ready=st.booleans())
    def the_engine_comes_or_goes(self, ready: bool) -> None:
        """Those of its jobs that may leave it have no patience."""
        self.redis.hset(keys.READY_AT, GPU.queue, int(time.time() * 1000) + 3_600_000 if ready else 1)

    # ---- time and the sweep ----

    @any_unfinished
    @rule(place=PLACES)
    def its_deadline_passes(self, place: int) -> None:
        job_id = self.some_unfinished(place)
        self.redis.hset(keys.job(job_id), "expires_at", 1)
        self.seen[job_id].overdue = True
        self.come(job_id)

    def come(self, job_id: str) -> None:
        self.redis.zadd(keys.DUE, {job_id: 1}, xx=True)

    def some_unfinished(self, place: int) -> str:
        return self.unfinished()[place % len(self.unfinished())]

    @precondition(lambda self: self.is_held)
    @rule()
    def the_hold_ends(self) -> None:
        for limit in LIMITS:
            self.redis.hset(keys.limit(limit), "until", 1)
        self.held_until_s = 0.0

    @rule(due=st.lists(PLACES, max_size=2), sent=st.booleans(), paused=st.sampled_from([False, False, True]))
    def sweep(self, due: list[int], sent: bool, paused: bool) -> None:
        """The moment of some jobs has come: a lease ran out, a backoff is over.

        With `paused` nobody swept for long: Redis was away, so that no lease is taken away yet.
        """
        for place in due if self.unfinished() else ():
            self.come(self.some_unfinished(place))
        self.some_time_passes()
        swept_at = 1 if paused else int(time.time() * 1000) + 5000
        self.redis.hset("tandem:sweep", mapping={"swept_at": swept_at, "grace_until": 0})
        for job_id in self.redis.zrangebyscore(keys.DUE, "-inf", 1):
            seen = self.seen[str(job_id)]
            if seen.holder is not None and (seen.overdue or not paused):
                self.call_closed(seen.claims[-1])
            if seen.overdue:
                seen.end("expired")
            elif seen.holder is not None and not paused:
                if not self.workers.is_alive(seen.workers[-1]):
                    seen.lose(self.workers.died_without_its_host(seen.workers[-1]))
                seen.leave()
        found = self.due.sweep()[1]
        self.who_went_elsewhere()
        found += self.due.find_lost()
        found += self.let_go(self.due.let_go())
        self.look()
        assert all(self.seen[m.job_id].epoch == m.epoch for m in found), "sent a message that nobody will heed"
        if sent:  # else the sweeping worker dies before it sends
            self.send(found)

    def who_went_elsewhere(self) -> None:
        """The sweep may send jobs on that wait: to a place that lets them in, and one where one is to try."""
        went: list[Place] = []
        for job_id, seen in self.seen.items():
            queue = self.redis.hget(keys.job(job_id), "queue")
            if seen.is_over or queue == seen.places[0].queue:
                continue
            assert seen.holder is None, "it was in somebody's hands"
            [to] = [place for place in ALL if place.queue == queue]
            assert self.elsewhere.lets_in(self.seen, to), "to a place that does not let it in"
            assert not self.elsewhere.has_retired(to)
            is_tried = any(one[to.queue].is_open for one in (self.elsewhere.circuits, self.elsewhere.keys))
            assert not (is_tried and to in went), "two were sent to try"
            went.append(to)
            seen.move(to)

    def some_time_passes(self) -> None:
        """Between two sweeps. Nothing may depend on how long the test takes: it could not be repeated."""
        for job_id in self.unfinished():
            if self.redis.hget(keys.job(job_id), "phase") == "queued":
                self.redis.hset(keys.job(job_id), "queued_at", 1)
            if self.redis.hget(keys.job(job_id), "reason") == "isolation":
                self.come(job_id)
        for limit in (*LIMITS, *map(keys.circuit_line, CIRCUITS)):
            for place, job_id in enumerate(self.seen):
                self.redis.zadd(keys.parked(limit), {job_id: FIRST + place}, xx=True)
            self.redis.hset(keys.limit(limit), "wake_at", 1)
        for where in ALL:
            for priority in (0, BATCH):
                self.redis.hset(keys.flow(where.queue, priority), mapping={"busy_at": 1, "mark_at": 1})
        self.nobody_is_on_its_way()

    # ---- the end ----

    def teardown(self) -> None:
        """However it was left: with workers that work, everything ends."""
        for _ in range(60):
            if all(seen.is_over for seen in getattr(self, "seen", {}).values()):
                return
            for job_id in self.seen:
                self.come(job_id)
            self.the_hold_ends()
            self.the_circuits_time_is_over()
            self.sweep(due=[], sent=True, paused=False)
            while self.broker:
                if claim := self.claim(self.take(0), NAMES[0]):
                    self.write(claim, Status.COMPLETED)
            self.look()
        raise AssertionError("some jobs never ended")
