"""The process that supervised an engine was killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.engine.config import State
from tests.engine.panel import Panel, Watched, alive
from tests.support.polling import until

LOADING, READY, BROKEN = State.LOADING, State.READY, State.BROKEN
Run = Callable[..., Watched]
Parent = subprocess.Popen[bytes]


@pytest.fixture
def parent(panel: Panel, tmp_path: Path) -> Iterator[Parent]:
    """Another process whose engine is ready, and deaf: it outlives the SIGTERM that its parent's death sends."""
    panel.tell("deaf")
    parent = subprocess.Popen([sys.executable, "-m", "tests.engine.parent", str(tmp_path)])
    until(lambda: "shared_memory" in record(panel), within_s=30, what="the engine")
    yield parent
    parent.kill()
    parent.wait()


def record(panel: Panel) -> str:
    path = panel.run_dir / "engine.json"
    return path.read_text() if path.exists() else ""


def test_the_next_start_kills_what_a_killed_parent_left(panel: Panel, run: Run, parent: Parent) -> None:
    scratch, shared, left = panel.scratch(), panel.shared_memory(), panel.processes()
    parent.kill()
    parent.wait()
    assert len(left) == 2
    assert all(alive(process) for process in left)
    run().until(LOADING, READY)
    assert not any(alive(process) for process in left)
    assert not scratch.exists()
    assert not [file for file in shared if file.exists()]


def test_files_are_removed_also_when_every_process_is_gone(panel: Panel, run: Run, parent: Parent) -> None:
    scratch, shared, left = panel.scratch(), panel.shared_memory(), panel.processes()
    for process in left:
        process.suspend()  # so that the supervisor cannot notice one death before its own
    parent.kill()
    parent.wait()
    for process in left:
        process.kill()
    until(lambda: not panel.processes(), within_s=3)
    assert [file for file in shared if file.exists()]
    run().until(LOADING, READY)
    assert not scratch.exists()
    assert not [file for file in shared if file.exists()]


def test_two_processes_do_not_run_the_same_engine(panel: Panel, run: Run, parent: Parent) -> None:
    theirs = panel.processes()
    watched = run()
    watched.until(BROKEN)
    assert "another process" in (watched.engine.why_lost or "")
    assert all(alive(process) for process in theirs)
    parent.kill()
    until(lambda: watched.states[-1] is READY, within_s=30)


def test_an_engine_ends_by_itself_when_its_parent_is_killed(panel: Panel, tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-m", "tests.engine.parent", str(tmp_path)])
    until(lambda: "shared_memory" in record(panel), within_s=30, what="the engine")
    parent.kill()
    parent.wait()
    until(lambda: not panel.processes(), within_s=30, what="the engine's end")


def test_engines_of_other_folders_are_left_alone(panel: Panel, run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Panel(tmp_path / "other")
    theirs = Watched(other.config())
    theirs.engine.start()
    theirs.until(LOADING, READY)
    run().until(LOADING, READY)
    panel.traces.clear()
    assert theirs.engine.state is READY
    assert len(other.processes()) == 2
    theirs.engine.stop(1)
