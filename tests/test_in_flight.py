"""What a worker process holds, and the turns in its engine."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tasks.engine_turn import OTHERS_FIRST_S, QUIET_S, EngineTurn
from tasks.in_flight import DRAIN, LOST, InFlight
from tasks.providers.base import DEADLINE, Call
from tasks.store.claim import Claim
from tests.support.polling import until


def claim(job_id: str, fence: int = 1) -> Claim:
    return Claim(
        job_id=job_id, fence=fence, n=1, tries=0, max_tries=5, crashes=0, engine_losses=0, suspect=False, left_s=60,
        kind="chat", queue="api", provider="nim", target="m", request={},
    )  # fmt: skip


def call(timeout_s: float = 60) -> Call:
    return Call(request_id="job.1", timeout_s=timeout_s)


def test_a_lost_lease_cuts_only_the_call_with_that_fence() -> None:
    held = InFlight()
    old, new = call(), call()
    with held.holding(claim("job_a", 1), old), held.holding(claim("job_a", 3), new):
        assert sorted(held.leases()) == [("job_a", 1), ("job_a", 3)]
        held.cut_lost([("job_a", 1), ("job_b", 1)])
        assert (old.why_cut, new.why_cut) == (LOST, None)
    assert len(held) == 0


def test_a_job_that_came_twice_with_one_fence_is_let_go_twice() -> None:
    held = InFlight()
    first, second = call(), call()
    with held.holding(claim("job_a"), first):
        with held.holding(claim("job_a"), second):
            assert held.leases() == [("job_a", 1)]
            held.cut_lost([("job_a", 1)])
        assert len(held) == 1
    assert (first.why_cut, second.why_cut, len(held)) == (LOST, LOST, 0)


def test_overdue_calls_are_cut() -> None:
    held = InFlight()
    late, early = call(timeout_s=0), call()
    with held.holding(claim("job_a"), late), held.holding(claim("job_b"), early):
        held.cut_overdue()
    assert (late.why_cut, early.why_cut) == (DEADLINE, None)


def test_a_job_alone_in_the_engine_waits_for_the_others_and_they_for_it() -> None:
    turn, trail = EngineTurn(), list[str]()
    first_may_leave, alone_may_leave = threading.Event(), threading.Event()

    def shared(name: str, leave: threading.Event | None = None) -> None:
        with turn.shared(call()):
            trail.append(f"{name} in")
            if leave is not None:
                leave.wait(5)
            trail.append(f"{name} out")

    def alone() -> None:
        with turn.alone(call()):
            trail.append("alone in")
            alone_may_leave.wait(5)
            trail.append("alone out")

    with ThreadPoolExecutor(3) as pool:
        pool.submit(shared, "first", first_may_leave)
        until(lambda: "first in" in trail, within_s=5)
        pool.submit(alone)
        until(lambda: turn._alone_wanted == 1, within_s=5)
        pool.submit(shared, "second")
        first_may_leave.set()
        until(lambda: "alone in" in trail, within_s=5)
        alone_may_leave.set()
    assert trail == ["first in", "first out", "alone in", "alone out", "second in", "second out"]


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def begun(clock: Clock, *, loading_s: float) -> EngineTurn:
    turn = EngineTurn(clock)
    turn.begin(loading_s)
    return turn


def test_others_go_first_for_as_long_as_the_engine_took_to_load() -> None:
    clock = Clock()
    turn = begun(clock, loading_s=30)
    clock.now += 50  # nobody came yet: this is not their time
    assert not turn.book()
    for _ in range(15):
        with turn.shared(call()):
            assert not turn.book()
            clock.now += 1.9
        assert not turn.book()
        clock.now += 0.1
    assert turn.book()
    assert not turn.book(), "two alone"
    turn.unbook()
    assert turn.book()


def test_others_do_not_go_first_for_ever_after_a_long_load() -> None:
    clock = Clock()
    turn = begun(clock, loading_s=900)
    with turn.shared(call()):
        clock.now += OTHERS_FIRST_S - 1
        assert not turn.book()
        clock.now += 1
        assert turn.book()


def test_nobody_waits_for_others_who_do_not_come() -> None:
    clock = Clock()
    turn = begun(clock, loading_s=30)
    assert not turn.book()  # from now on it is quiet
    clock.now += QUIET_S / 2
    with turn.shared(call()):
        clock.now += QUIET_S
        assert not turn.book()
    assert not turn.book()
    clock.now += QUIET_S
    assert turn.book()


def test_after_a_job_that_was_alone_others_have_as_much_time() -> None:
    clock = Clock()
    turn = EngineTurn(clock)
    assert turn.book()
    with turn.alone(call()):
        clock.now += 20
    turn.unbook()
    with turn.shared(call()):
        clock.now += 19
        assert not turn.book()
        clock.now += 1
        assert turn.book()


def test_a_job_that_waits_for_its_turn_is_let_in_when_it_is_cut() -> None:
    turn, waiting = EngineTurn(), call()
    with turn.shared(call()), ThreadPoolExecutor(1) as pool:

        def alone() -> bool:
            with turn.alone(waiting):
                return True

        entered = pool.submit(alone)
        until(lambda: turn._alone_wanted == 1, within_s=5)
        assert not entered.done()
        waiting.cut(LOST)
        assert entered.result(timeout=5)


def test_a_call_that_comes_after_the_end_is_cut_at_once() -> None:
    held, late = InFlight(), call()
    with held.looking():
        held.close(DRAIN)
        assert not held.is_idle
        with held.holding(claim("job_a"), late):
            assert late.why_cut == DRAIN
    assert held.is_idle
