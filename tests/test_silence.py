"""A process whose threads stand still ends itself."""

from __future__ import annotations

import subprocess
import sys

HOLD_THE_GIL = "__import__('re').match('(a+)+$', 'a' * 60 + 'b')"


def ended(after_s: float, doing: str) -> subprocess.CompletedProcess[str]:
    """A process that ends itself after so much silence, and does this."""
    code = f"import time; from tasks.worker.watchdog import end_when_silent; end_when_silent({after_s}); {doing}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_process_whose_gil_is_held_is_ended_and_says_where_it_stood() -> None:
    found = ended(0.5, HOLD_THE_GIL)
    assert found.returncode == 1
    assert "in match" in found.stderr


def test_a_process_that_waits_for_longer_is_not() -> None:
    assert ended(3, "time.sleep(3.5)").returncode == 0
