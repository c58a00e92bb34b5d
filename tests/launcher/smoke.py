"""Types the README's commands in a fresh clone: `python -m tests.launcher.smoke`, from .ci/run.

In README.md it looks for fenced blocks of ```sh or ```console whose lines (without a leading `$ `) are commands: the
line `make run`, the first command that begins with `curl` and posts to /jobs, the first that begins with `printf` and
posts to /batches, and the line `make test`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.environment import cleaned
from tests.launcher.launched import survivors
from tests.support.polling import until
from tests.support.valkey import free_port

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INSTALL_S, STOP_S, JOB_S = 900, 20, 30
#: Longer than the drain, so that Ctrl-C catches it in the middle.
SLOW, DRAIN_S = "sandbox/slow-6000ms", "1"


def commands(readme: str) -> list[str]:
    """Every command of the README's blocks; lines that end in a backslash or a pipe, or within quotes, go on."""
    found = []
    for block in BLOCK.findall(readme):
        joined = ""
        for line in block.splitlines():
            joined += line if joined else line.removeprefix("$ ")
            if line.endswith("\\"):
                joined = joined[:-1]
            elif joined.count("'") % 2 or joined.endswith("|"):
                joined += "\n"
            else:
                found.append(joined.strip())
                joined = ""
    return found


class Clone:
    """A fresh clone with ports of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        self._commands = commands((folder / "README.md").read_text())
        ports = {"TANDEM_PORT": str(free_port()), "TANDEM_FLOWER_PORT": str(free_port()), "TANDEM_DRAIN_S": DRAIN_S}
        self._env = cleaned(os.environ) | ports
        self._url = f"http://127.0.0.1:{ports['TANDEM_PORT']}"
        self._out = folder.with_suffix(".out")

    def command(self, start: str, holding: str = "") -> str:
        """The README's first command that begins so."""
        return next(one for one in self._commands if re.match(rf"{start}\b", one) and holding in one)

    def run(self) -> subprocess.Popen[bytes]:
        """Type `make run` and wait for what it prints when it is ready."""
        with self._out.open("wb") as out:
            process = subprocess.Popen(
                self.command("make run"), shell=True, cwd=self._folder, env=self._env, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        until(lambda: process.poll() is not None or "Ctrl-C stops" in self._out.read_text(), within_s=INSTALL_S)
        assert process.poll() is None, self._out.read_text()
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> float:
        """Type Ctrl-C; returns the seconds until everything was gone."""
        began_at = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        process.wait(STOP_S + 5)
        until(lambda: not survivors(self._folder / ".tandem"), within_s=STOP_S)
        took_s = time.monotonic() - began_at
        assert took_s <= STOP_S, took_s
        return took_s

    def shell(self, command: str) -> str:
        """Type a command; the README's port becomes this clone's. Raises CalledProcessError when it fails."""
        own = re.sub(r"(127\.0\.0\.1|localhost):8000", self._url.removeprefix("http://"), command)
        done = subprocess.run(own, shell=True, cwd=self._folder, env=self._env, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(done.stdout)
            done.check_returncode()
        return done.stdout

    def ask(self, path: str, body: object = None) -> dict[str, Any]:
        """GET, or POST JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer))


def answer_a_batch(clone: Clone) -> None:
    """The README's `printf … | curl`: all of its items are answered."""
    answer = clone.shell(clone.command("printf", "/batches"))
    batch_id = json.loads(answer)["id"]
    until(lambda: clone.ask(f"/batches/{batch_id}")["status"] == "completed", within_s=JOB_S, what="the batch")
    counts = clone.ask(f"/batches/{batch_id}")["counts"]
    assert counts["completed"] == sum(counts.values()) == 2, counts
    print("smoke: the batch completed", flush=True)


def lose_no_job(clone: Clone) -> None:
    """`make run`, the README's job and batch, Ctrl-C in mid-job, `make run`: the job completes; Ctrl-C: all is gone."""
    first = clone.run()
    answer = clone.shell(clone.command("curl", "/jobs"))
    assert json.loads(answer[answer.index("{") :])["id"].startswith("job_"), answer
    answer_a_batch(clone)
    job_id = clone.ask("/jobs", {"prompt": "Hello?", "model": SLOW})["id"]
    until(lambda: clone.ask(f"/jobs/{job_id}")["status"] == "processing", within_s=JOB_S)
    print(f"smoke: stopped in mid-job in {clone.stop(first):.1f} s", flush=True)
    second = clone.run()
    until(lambda: clone.ask(f"/jobs/{job_id}")["status"] == "completed", within_s=JOB_S, what="the interrupted job")
    print(f"smoke: the job completed; stopped in {clone.stop(second):.1f} s", flush=True)


def main() -> int:
    """Exit status 0 when all of it works."""
    with tempfile.TemporaryDirectory(prefix="tandem-smoke-") as folder:
        clone = Clone(Path(folder) / "tandem")
        lose_no_job(clone)
        print(clone.shell(clone.command("make test"))[-2000:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
