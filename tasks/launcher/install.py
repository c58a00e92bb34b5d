"""Makes .venv from a lock file: `python -m tasks.launcher.install run|dev`, called by the Makefile.

Runs with any Python ≥ 3.11 before any virtual environment exists, hence standard library only. An installation that
was interrupted is noticed by the mark it leaves, and begun afresh.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "install.log"
#: There from the first package to the last: packages may be half there.
UNFINISHED = VENV / "tandem-unfinished"
LOCKS = {"run": "requirements.txt", "dev": "requirements-dev.txt"}
#: Lines of an installer's output that are shown when it fails.
LAST_LINES = 5


class InstallError(Exception):
    """The environment could not be made; the message is one sentence for the operator, then what was printed."""


def main() -> int:
    """Install; one sentence and exit status 1 when that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m tasks.launcher.install", description=__doc__)
    parser.add_argument("what", choices=tuple(LOCKS))
    what = parser.parse_args().what
    try:
        with alone():
            anew = make_environment()
            for name in LOCKS if anew and what == "dev" else (what,):
                install(ROOT / LOCKS[name])
                # The Makefile compares its time with the lock's.
                (VENV / f"tandem-{name}").touch()
    except (InstallError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the next run starts the installation afresh\n")
        return 130
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """Let a second installation in this checkout wait for the first."""
    with (ROOT / LOCKS["run"]).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_environment() -> bool:
    """Make .venv, empty, unless there is a sound one; whether it was made. Raises InstallError."""
    if not UNFINISHED.exists() and _runs(str(PYTHON), "-m", "pip", "--version"):
        return False
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)  # noqa: S603 - our own
    if made.returncode:
        raise InstallError(
            f"no virtual environment could be made at {VENV} (on Debian: apt-get install python3-venv)\n"
            + _last_lines(made.stdout + made.stderr)
        )
    return True


def install(lock: Path) -> None:
    """Install exactly what `lock` lists, hashes checked. Raises InstallError."""
    started = time.monotonic()
    say(f"installing {lock.name} into {VENV.name}: about a minute")
    UNFINISHED.touch()
    # What pip is configured to find, uv may not: pip has the last word.
    if not (_by_uv(lock) or _run(str(PYTHON), "-m", "pip", "install", "--no-input", *exactly(lock))):
        raise InstallError(f"{lock.name} could not be installed (all of it: {LOG})\n{_last_lines(LOG.read_text())}")
    UNFINISHED.unlink()
    say(f"installed in {time.monotonic() - started:.0f} s")


def exactly(lock: Path) -> list[str]:
    """The options of pip and uv alike. The locks are complete, so nothing is resolved."""
    return ["--no-deps", "--require-hashes", "-r", str(lock)]


def say(line: str) -> None:
    """Tell the operator, at once also through a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _by_uv(lock: Path) -> bool:
    uv = shutil.which("uv")
    # uv does not read pip's variable for folders of wheels.
    links = [part for link in os.environ.get("PIP_FIND_LINKS", "").split() for part in ("--find-links", link)]
    return uv is not None and _run(uv, "pip", "install", "--python", str(PYTHON), *links, *exactly(lock))


def _run(*command: str) -> bool:
    with LOG.open("a") as log:
        return not subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode  # noqa: S603 - our own


def _runs(*command: str) -> bool:
    try:
        return not subprocess.run(command, capture_output=True).returncode  # noqa: S603 - our own
    except OSError:
        return False


def _last_lines(output: str) -> str:
    told = [line for line in output.splitlines() if line.strip() and not line.startswith("WARNING")]
    return "\n".join(told[-LAST_LINES:])


if __name__ == "__main__":
    sys.exit(main())
