"""When a batch will be done: not told at first, never in the past, and of the present round only."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.domain.batch import Batch, BatchStatus
from tasks.store import batch_record

HOUR_US = 3_600_000_000
NOW_US = 1_800_000_000_000_000


def batch(latest_us: list[float], *, now_us: float = NOW_US, **more: str | int) -> Batch:
    """One of a hundred items that was begun an hour ago and has two hours left, as its record has it."""
    values = {"owner": "o", "status": "in_progress", "created_at": (NOW_US - HOUR_US) // 1000,
              "in_progress_at": (NOW_US - HOUR_US) // 1000, "expires_at": (NOW_US + 2 * HOUR_US) // 1000,
              "total": 100, "lines": 100, "invalid": 0, "metadata": "{}", "round": 1, "completed": len(latest_us),
              "options": '{"on_complete": null}', **more}  # fmt: skip
    return batch_record.batch("batch_x", {k: str(v) for k, v in values.items()}, latest_us, now_us=now_us)


def ended(count: int, *, every_s: float = 1.0, before_s: float = 0.0) -> list[float]:
    """Items that ended one after another, the last of them so long ago; the latest first."""
    return [NOW_US - (before_s + nth * every_s) * 1e6 for nth in range(count)]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_it_says_estimating_until_some_have_ended(count: int) -> None:
    found = batch(ended(count))
    assert (found.eta, found.is_estimating) == (None, True)


def test_it_is_told_from_the_measured_rate() -> None:
    found = batch(ended(21))
    assert found.settled_per_s == 1.0
    assert found.eta is not None
    assert found.eta - found.as_of == timedelta(seconds=79)
    assert not found.is_estimating


def test_it_grows_while_nothing_ends() -> None:
    soon, later = batch(ended(21)).eta, batch(ended(21, before_s=60)).eta
    assert soon is not None and later is not None
    assert later > soon


def test_it_is_the_deadline_at_the_latest() -> None:
    found = batch(ended(5, every_s=500))
    assert found.eta == found.expires_at


def test_what_ended_in_an_earlier_round_tells_nothing_of_this_one() -> None:
    began = {"in_progress_at": (NOW_US - 60 * 10**6) // 1000, "round": 2}
    before = ended(90, before_s=61)
    assert batch(before, **began).is_estimating
    found = batch(ended(5, every_s=10) + before, **began)
    assert found.settled_per_s == pytest.approx(0.1)


def test_a_paused_batch_has_none_and_tells_it_anew_when_it_goes_on() -> None:
    found = batch(ended(50), paused=1)
    assert (found.eta, found.is_estimating) == (None, False)
    resumed = {"resumed_at": (NOW_US - 10 * 10**6) // 1000}
    assert batch(ended(50, before_s=11), **resumed).is_estimating
    found = batch(ended(5) + ended(45, before_s=2000), **resumed)
    assert found.settled_per_s == 1.0, "the pause was counted"


@pytest.mark.parametrize("status", [one for one in BatchStatus if one.is_final])
def test_a_batch_that_is_over_has_none(status: BatchStatus) -> None:
    found = batch(ended(50), status=status.value, finished_at=NOW_US // 1000)
    assert (found.eta, found.is_estimating) == (None, False)


def test_while_a_job_runs_over_the_results_all_items_have_ended() -> None:
    found = batch([], status="finalizing", completed=100)
    assert (found.eta, found.is_estimating) == (found.as_of, False)


def test_a_clock_that_was_set_back_makes_it_estimate_again() -> None:
    found = batch(ended(50, every_s=1e-6), now_us=NOW_US - HOUR_US)
    assert (found.eta, found.is_estimating) == (None, True)


def test_the_clock_of_whoever_tells_it_does_not_matter() -> None:
    """All is told by Redis' clock, which may be years away from this machine's."""
    found = batch(ended(21), **{"used total_tokens": 3600})
    assert found.eta is not None
    assert found.eta - found.as_of == timedelta(seconds=79)
    assert found.tokens_per_s == 1.0


def test_tokens_of_earlier_rounds_are_no_speed_of_this_one() -> None:
    found = batch([], round=2, tokens_before=7200, **{"used total_tokens": 10800})
    assert found.tokens_per_s == 1.0


@given(
    ages_s=st.lists(st.floats(-1e6, 1e6), max_size=30).map(sorted),
    counts=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    status=st.sampled_from(BatchStatus),
    moved_s=st.integers(-(10**6), 10**6),
)
def test_it_is_never_in_the_past(
    ages_s: list[float], counts: tuple[int, int], status: BatchStatus, moved_s: int
) -> None:
    latest_us = [NOW_US - age_s * 1e6 for age_s in ages_s]
    completed, failed = counts
    found = batch(latest_us, now_us=NOW_US + moved_s * 10**6, status=status.value, completed=completed, failed=failed)
    assert found.eta is None or found.eta >= found.as_of
    assert found.tokens_per_s is None or found.tokens_per_s >= 0
