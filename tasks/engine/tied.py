"""Starts an engine that ends with its parent. Run as a script, by the path of this file, without `site`:

    tied.py PARENT_PID NICENESS PROGRAM ARGUMENT…

`preexec_fn` would do the same but may deadlock in a process with threads.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main(parent: int, niceness: int, command: list[str]) -> None:
    """Become `command`. The kernel sends it SIGTERM when the thread that started this process ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent is gone already, and the signal was missed")
    os.nice(niceness)
    # Where sessions are scheduled as groups (sched_autogroup), niceness counts only among an engine's own processes:
    # what counts against others is the group's.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
