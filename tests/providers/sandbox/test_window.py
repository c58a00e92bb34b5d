"""The sliding log against the definition of one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.providers.sandbox.window import Window

STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=60)
WINDOW_S, LIMIT = 10.0, 20


@given(STEPS)
def test_it_holds_exactly_what_is_younger_than_the_window(steps: list[tuple[int, int]]) -> None:
    window, booked, now = Window(WINDOW_S), [], 0.0
    for wait_tenths, amount in steps:
        now += wait_tenths / 8  # binary fractions: the test's own sums are exact
        window.book(now, amount)
        booked.append((now, amount))
        assert window.used(now) == sum(a for at, a in booked if at > now - WINDOW_S)


@given(STEPS)
def test_waiting_as_told_makes_room_and_less_does_not(steps: list[tuple[int, int]]) -> None:
    window, now = Window(WINDOW_S), 0.0
    for wait_eighths, amount in steps:
        now += wait_eighths / 8
        wait_s = window.room_in_s(now, amount, LIMIT)
        if wait_s > 1 / 8:
            assert window.room_in_s(now + wait_s - 1 / 8, amount, LIMIT) > 0
        now += wait_s
        assert window.room_in_s(now, amount, LIMIT) == 0
        window.book(now, amount)
    assert window.peak <= LIMIT


def test_what_never_fits_waits_a_whole_window() -> None:
    assert Window(WINDOW_S).room_in_s(0.0, LIMIT + 1, LIMIT) == WINDOW_S
