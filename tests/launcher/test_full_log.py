"""A full disk under the logs: the supervisor goes on, and so do its processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tasks.launcher.programs import Program
from tasks.launcher.supervisor import Supervisor
from tests.support.polling import until

#: Prints lines, and when they are out makes a file.
CHATTY = """
import pathlib, sys, time
for _ in range(2000):
    print("x" * 99, flush=True)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def test_a_full_disk_under_the_logs_does_not_end_the_supervisor(tmp_path: Path) -> None:
    logs, done = tmp_path / "logs", tmp_path / "done"
    logs.mkdir()
    for name in ("supervisord.out", "supervisord.log", "chatty.log"):
        (logs / name).symlink_to("/dev/full")
    script = tmp_path / "chatty.py"
    script.write_text(CHATTY)
    chatty = Program(
        name="chatty", command=[sys.executable, str(script), str(done)], group="front", priority=40, stop_s=1
    )
    supervisor = Supervisor(tmp_path, [chatty], os.environ)
    try:
        supervisor.start()
        supervisor.launch(chatty)
        until(done.exists, within_s=30, what="all lines being taken")
        assert supervisor.is_alive() and not supervisor.has_failed("chatty")
    finally:
        assert supervisor.stop(20)
        supervisor.remove_socket()
