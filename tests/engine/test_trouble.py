"""An engine dies, hangs, or is only busy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from structlog.testing import capture_logs

from tasks.engine.config import State
from tests.engine.panel import Panel, Watched, alive
from tests.support.polling import until

LOADING, READY, BROKEN = State.LOADING, State.READY, State.BROKEN
Run = Callable[..., Watched]


def test_an_engine_that_ends_with_status_0_is_started_again(panel: Panel, run: Run) -> None:
    watched = run(probe_interval_s=60)
    watched.until(LOADING, READY)
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{watched.engine.base_url}/die", timeout=2)
    watched.until(LOADING, READY, BROKEN, LOADING, READY)
    assert "ended with status 0" in (watched.engine.why_lost or "")
    assert len(panel.processes()) == 2  # the child of the first life is gone


def test_a_hung_engine_is_killed_and_started_again(panel: Panel, run: Run) -> None:
    watched = run()
    watched.until(LOADING, READY)
    first = panel.processes()
    panel.tell("hangs")
    until(lambda: BROKEN in watched.states, within_s=30)
    panel.untell("hangs")
    watched.until(LOADING, READY, BROKEN, LOADING, READY)
    assert not any(alive(process) for process in first)


def test_a_suspicion_brings_the_probe_forward(panel: Panel, run: Run) -> None:
    watched = run(probe_interval_s=60)
    watched.until(LOADING, READY)
    panel.tell("hangs")
    watched.engine.suspect()
    until(lambda: BROKEN in watched.states, within_s=30)


def test_a_suspicion_about_a_good_engine_changes_nothing(panel: Panel, run: Run) -> None:
    watched = run(probe_interval_s=60)
    watched.until(LOADING, READY)
    for asked in (2, 3, 4):
        watched.engine.suspect()
        until(lambda n=asked: len(panel.lines("probes")) >= n, within_s=3)  # type: ignore[misc]
    assert watched.states == [LOADING, READY]


def test_a_busy_engine_whose_tokens_move_is_left_alone(panel: Panel, run: Run) -> None:
    watched = run()
    panel.tell("works")
    watched.until(LOADING, READY)
    panel.tell("hangs")
    # One miss may come before there is a count to compare with; after five it would long have been killed.
    until(lambda: len(panel.lines("probes")) >= 6, within_s=30)
    assert watched.states == [LOADING, READY]


def test_a_long_prefill_moves_only_the_use_of_the_cache_and_is_left_alone(panel: Panel, run: Run) -> None:
    watched = run()
    panel.tell("prefills")
    watched.until(LOADING, READY)
    panel.tell("hangs")
    until(lambda: len(panel.lines("probes")) >= 6, within_s=30)
    assert watched.states == [LOADING, READY]


def test_a_busy_engine_that_answers_its_callers_is_left_alone(panel: Panel, run: Run) -> None:
    watched = run(probe_interval_s=0.01)
    watched.until(LOADING, READY)
    panel.tell("hangs")

    def answered() -> bool:
        watched.engine.alive_hint()
        return len(panel.lines("probes")) >= 6

    until(answered, within_s=30, every_s=0.05)
    assert watched.states == [LOADING, READY]


def test_an_engine_that_cannot_start_is_tried_again_ever_more_rarely(panel: Panel, run: Run) -> None:
    panel.tell("fails")
    watched = run()
    until(lambda: len(panel.lines("starts")) >= 4, within_s=40)
    times = [float(line) for line in panel.lines("starts")]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[0] >= 0.1
    assert pauses[1] >= 0.2
    assert pauses[2] >= 0.4
    panel.untell("fails")
    until(lambda: watched.states[-1] is READY, within_s=40)


def test_an_engine_that_was_ready_is_started_again_soon_however_often_it_dies(panel: Panel, run: Run) -> None:
    with capture_logs() as logged:
        watched = run(probe_interval_s=60)
        for life in range(1, 5):
            watched.until(*[LOADING, READY, BROKEN] * (life - 1), LOADING, READY, within_s=30)
            with pytest.raises(requests.ConnectionError):
                requests.post(f"{watched.engine.base_url}/die", timeout=5)
        until(lambda: watched.states.count(BROKEN) == 4, within_s=30)
        pauses = until(lambda: said if len(said := retries(logged)) == 4 else None, within_s=30)
    assert pauses == [0.1] * 4


def retries(logged: Sequence[Mapping[str, Any]]) -> list[float]:
    return [one["retry_in_s"] for one in logged if one["event"] == "engine.lost"]


def test_an_engine_that_does_not_get_ready_in_time_is_given_up(panel: Panel, run: Run) -> None:
    panel.tell("hangs")
    watched = run(start_timeout_s=0.5)
    until(lambda: BROKEN in watched.states, within_s=30)
    assert "not ready after" in (watched.engine.why_lost or "")


def test_a_missing_executable_is_said(tmp_path: Path, run: Run) -> None:
    watched = run(executable=tmp_path / "nowhere" / "vllm")
    watched.until(BROKEN)
    assert "no engine is installed" in (watched.engine.why_lost or "")
