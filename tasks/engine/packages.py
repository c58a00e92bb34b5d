"""Fills a virtual environment from a lock file, with uv where there is one, else with pip. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tasks.domain.errors import TandemError

#: The Python that the lock files were resolved for. torch's CPU wheel in them is cp311 only.
PYTHON = "3.11"
#: Where the CPU builds of torch live for everybody; asked only when the configured indexes do not have them.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
#: Lines of an installer's output that go into the error.
LAST_LINES, LINE_LENGTH = 5, 300


class InstallError(TandemError):
    """The environment could not be made; the message is one sentence for the operator, then what was printed."""


class Environment:
    """The virtual environment at `root`. What its making printed is in `root`/install.log."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.python = self.root / "bin" / "python"
        self.log = self.root / "install.log"
        self._uv = shutil.which("uv")

    def make(self) -> None:
        """Make it anew, empty. Raises InstallError when this machine has no Python 3.11 with venv."""
        base = _find_python() or (PYTHON if self._uv else None)  # uv fetches a Python that is not there
        if base is None:
            raise InstallError(f"the engine needs Python {PYTHON}, which is not on the PATH (nor is uv, which gets it)")
        by_uv = [self._uv or "", "venv", "--quiet", "--clear", "--python", base, str(self.root)]
        by_venv = [base, "-m", "venv", "--clear", str(self.root)]
        made = subprocess.run(by_uv if self._uv else by_venv, capture_output=True, text=True)  # noqa: S603 - our own
        if made.returncode:
            raise InstallError(
                f"no virtual environment could be made at {self.root}; on Debian: apt-get install python{PYTHON}-venv\n"
                + _last_lines(made.stdout + made.stderr)
            )

    def install(self, lock: Path) -> None:
        """Install exactly what `lock` lists, hashes checked. Raises InstallError."""
        if torch := _cpu_torch(lock):
            self._install_torch(torch)
        if self._run("-r", str(lock)):
            raise InstallError(f"{lock.name} could not be installed (all of it: {self.log})\n{self._last_output()}")
        self._compile()

    def site_packages(self) -> Path:
        """Where its packages are. Raises InstallError when there is no such folder."""
        for folder in self.root.glob("lib/python3*/site-packages"):
            return folder
        raise InstallError(f"{self.root} has no site-packages")

    def _install_torch(self, requirement: str) -> None:
        """torch first and alone: the index that only it needs then answers for no other package."""
        alone = self.root / "torch.txt"
        alone.write_text(requirement)
        failed = self._run("-r", str(alone)) and self._run("-r", str(alone), "--extra-index-url", TORCH_CPU_INDEX)
        alone.unlink()
        if failed:
            raise InstallError(
                f"torch's CPU build could not be had, neither from the configured indexes nor from {TORCH_CPU_INDEX}"
                f" (set PIP_FIND_LINKS to a folder with its wheel)\n{self._last_output()}"
            )

    def _compile(self) -> None:
        """Every module on every core: 25 s here against 60 s in pip, and each start of the engine takes 9 s less."""
        command = [str(self.python), "-m", "compileall", "-q", "-j", "0", str(self.site_packages())]
        # Its exit status tells of templates that are no Python: not of interest.
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - our own

    def _run(self, *requirements: str) -> int:
        # The locks are complete, so nothing is resolved (--no-deps): what unneeded.txt left out stays out.
        if self._uv:
            # uv does not read pip's variable for folders of wheels.
            links = [part for link in os.environ.get("PIP_FIND_LINKS", "").split() for part in ("--find-links", link)]
            command = [self._uv, "pip", "install", "--python", str(self.python), *links]
        else:
            command = [str(self.python), "-m", "pip", "install", "--no-compile", "--progress-bar=off", "--no-input"]
        with self.log.open("a") as log:
            command += ["--no-deps", "--require-hashes", *requirements]
            return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode  # noqa: S603 - our own

    def _last_output(self) -> str:
        return _last_lines(self.log.read_text(errors="replace"))


def _find_python() -> str | None:
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == PYTHON:
        return sys.executable
    return shutil.which(f"python{PYTHON}")


def _cpu_torch(lock: Path) -> str | None:
    found = re.search(r"^torch==\S+\+cpu(?: \\\n +--hash=\S+)+", lock.read_text(), re.MULTILINE)
    return found[0] + "\n" if found else None


def _last_lines(output: str) -> str:
    told = [line for line in output.splitlines() if line.strip() and not line.startswith("WARNING")]
    return "\n".join(line[:LINE_LENGTH] for line in told[-LAST_LINES:])
