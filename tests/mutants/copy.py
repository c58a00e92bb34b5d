"""A copy of the working tree to make changes in, and the tests run on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from tests.environment import cleaned

ROOT = Path(__file__).parents[2]
#: Beyond this the tests hang, which is noticed too.
TEST_TIMEOUT_S = 240
#: What pytest's exit status says when a test failed.
TESTS_FAILED = 1
#: What is skipped of the tests named: those that take minutes.
QUICK = "not chaos and not batch_chaos and not vllm"


class Verdict(StrEnum):
    """What the tests said of a change."""

    NOTICED = "noticed"
    LIVED = "LIVED"
    #: The text to change is not there, or not once; or the tests could not be run.
    STALE = "STALE"


class Copy:
    """A copy of the files that git knows, as they are now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def changed(self, file: str, old: str, new: str) -> Iterator[bool]:
        """Let one text be another for as long as the block runs; False when it does not occur exactly once."""
        path = self.folder / file
        before = path.read_text() if path.exists() else ""
        if before.count(old) != 1:
            yield False
            return
        path.write_text(before.replace(old, new))
        try:
            yield True
        finally:
            path.write_text(before)

    def judge(self, tests: Sequence[str]) -> Verdict:
        """Run these tests on the copy as it stands."""
        status = self.run([*pytest_command(), *tests])
        if status in (0, TESTS_FAILED):
            return Verdict.NOTICED if status else Verdict.LIVED
        return Verdict.NOTICED if status is None else Verdict.STALE

    def run(self, command: Sequence[str], timeout_s: float = TEST_TIMEOUT_S) -> int | None:
        """Run a command in the copy: its exit status, None when it took too long. What it started ends with it."""
        process = subprocess.Popen(
            command, cwd=self.folder, env=cleaned(os.environ), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def pytest_command() -> list[str]:
    """How tests are run here: the first failure is enough."""
    return [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", QUICK]


@contextmanager
def made() -> Iterator[Copy]:
    """A copy in a folder of its own, removed afterwards. It uses this project's environment."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="tandem-mutants-") as folder:
        for name in filter(None, listed.stdout.splitlines()):
            if (ROOT / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, Path(folder) / name)
        (Path(folder) / ".venv").symlink_to(ROOT / ".venv")
        yield Copy(Path(folder))
