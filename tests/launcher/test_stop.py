"""Ctrl-C and worse: all of it stops, nothing survives, and the next start carries on."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
from pathlib import Path

import pytest

from tests.launcher.launched import START_S, Launched, survivors
from tests.support.polling import until

CTRL_C = b"\x03"
#: Longer than the drain, so that the job is put back when the workers stop.
SLOW, DRAIN_S = "sandbox/slow-4000ms", "0.5"


class Terminal:
    """A terminal with somebody reading it."""

    def __init__(self) -> None:
        self.theirs, self.ours = pty.openpty()[::-1]
        os.set_blocking(self.ours, False)
        self._shown = b""

    def shows(self, text: str) -> bool:
        """Whether `text` has been on the screen."""
        with contextlib.suppress(OSError):
            self._shown += os.read(self.ours, 65536)
        return text.encode() in self._shown

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.ours, keys)

    def close(self) -> None:
        """Close the window: those who run in it are hung up."""
        os.close(self.ours)


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
        with Launched(data, terminal=terminal.theirs, TANDEM_DRAIN_S=DRAIN_S) as third:
            until(lambda: terminal.shows("Ctrl-C stops"), within_s=START_S)
            assert terminal.shows("an interrupted run left behind")
            until(lambda: third.job(killed)["status"] == "completed", within_s=20)
            os.close(terminal.theirs)
            terminal.close()
            third.stopped()


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    terminal = Terminal()
    with Launched(tmp_path / "data", terminal=terminal.theirs) as run:
        until(lambda: terminal.shows("starting"), within_s=20)
        terminal.type(CTRL_C)
        until(lambda: run.process.poll() is not None, within_s=20)
        run.stopped()


def test_sigterm_to_the_launcher_alone(tmp_path: Path) -> None:
    with Launched(tmp_path / "data") as run:
        run.ready().process.send_signal(signal.SIGTERM)
        run.stopped()
