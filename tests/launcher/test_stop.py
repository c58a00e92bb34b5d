"""Ctrl-C and worse: all of it stops, nothing survives, and the next start carries on."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tasks.launcher import owner
from tests.launcher.launched import START_S, Launched, survivors
from tests.launcher.terminal import CTRL_C, Terminal
from tests.support.polling import until

#: Longer than the web's stop and the drain together, so that the job is put back when the workers stop.
SLOW, DRAIN_S = "sandbox/slow-6000ms", "0.5"


def in_mid_job(run: Launched) -> str:
    job_id = str(run.post(model=SLOW)["id"])
    until(lambda: run.job(job_id)["status"] == "processing", within_s=10)
    return job_id


@pytest.mark.timeout(300)
def test_ctrl_c_in_mid_job_then_kill_then_terminal_closed_lose_no_job(tmp_path: Path) -> None:
    data = tmp_path / "data"

    with Launched(data, TANDEM_DRAIN_S=DRAIN_S) as run:
        interrupted = in_mid_job(run.ready())
        run.interrupt()
        run.interrupt()  # impatient
        run.stopped()

    with Launched(data, TANDEM_DRAIN_S=DRAIN_S) as run:
        run.ready()
        until(lambda: run.job(interrupted)["status"] == "completed", within_s=20)
        assert [attempt["outcome"] for attempt in run.job(interrupted)["attempts"]] == ["released", "completed"]
        killed = in_mid_job(run)
        run.process.kill()
        run.process.wait()
        assert survivors(data)

        terminal = Terminal()
        with Launched(data, terminal=terminal, TANDEM_DRAIN_S=DRAIN_S) as third:
            third.ready()
            assert "an interrupted run left behind" in third.output()
            until(lambda: third.job(killed)["status"] == "completed", within_s=20)
            terminal.close()
            third.stopped()


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    terminal = Terminal()
    with Launched(tmp_path / "data", terminal=terminal) as run:
        until(lambda: "starting" in run.output(), within_s=START_S)
        terminal.type(CTRL_C)
        run.stopped()


def test_ctrl_c_that_takes_the_supervisor_along_before_it_has_a_session_of_its_own(tmp_path: Path) -> None:
    terminal = Terminal()
    with Launched(tmp_path / "data", terminal=terminal) as run:
        until(lambda: owner.find(run.data), within_s=START_S, every_s=0.001)
        terminal.type(CTRL_C)
        for process in owner.find(run.data):
            process.kill()
        run.stopped()


def test_a_worker_that_ran_a_suspect_stops_in_order_too(tmp_path: Path) -> None:
    with Launched(tmp_path / "data", TANDEM_LEASE_S="3", TANDEM_DRAIN_S=DRAIN_S) as run:
        run.ready()
        job_id = str(run.post(model="sandbox/slow-4000ms")["id"])
        until(lambda: run.job(job_id)["status"] == "processing", within_s=10)
        psutil.Process(run.pid_of("api")).kill()
        until(lambda: run.job(job_id)["status"] == "completed", within_s=40)
        assert [attempt["outcome"] for attempt in run.job(job_id)["attempts"]] == ["lost", "completed"]
        run.interrupt()
        run.stopped()
        assert "had to be killed" not in run.output()
