"""Each command for Redis in docs/operations.md, as it stands there: with what `make run` installs, and no client."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tasks.store import keys
from tests.support.valkey import Valkey

ROOT = Path(__file__).parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
#: What the commands are made of; after it they may be typed in the same shell.
[FUNCTION] = re.findall(r"```sh\n(tandem_redis\(\).*?)```", OPERATIONS, re.DOTALL)
COMMANDS = re.findall(r"`(tandem_redis [^`]*)`", OPERATIONS)


@pytest.fixture
def folder(tmp_path: Path, valkey: Valkey) -> Path:
    """A clone in which `make run` runs."""
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / ".tandem" / "valkey").mkdir(parents=True)
    (tmp_path / ".tandem" / "valkey" / "url").write_text(f"{valkey.url}\n")
    return tmp_path


def said(folder: Path, command: str, **environment: str) -> str:
    """What it prints."""
    run = ["sh", "-c", f"{FUNCTION}\n{command}"]
    there = {"PATH": os.defpath, **environment}
    return subprocess.run(run, cwd=folder, env=there, capture_output=True, text=True, check=True, timeout=60).stdout


def test_no_command_needs_a_client_that_is_not_installed() -> None:
    assert not re.findall(r"`(?:valkey|redis)-cli [^`]", OPERATIONS)


def test_what_the_commands_are_to_forget_is_gone(folder: Path, valkey: Valkey) -> None:
    stored = {
        "tandem_redis HDEL tandem:limit:nim until": keys.limit("nim"),
        "tandem_redis DEL tandem:limit:nim": keys.limit("nim"),
        "tandem_redis DEL tandem:circuit:nim:acme/writer": keys.circuit("nim:acme/writer"),
        "tandem_redis DEL tandem:retired:nim:acme/writer": keys.retired("nim", "acme/writer"),
    }
    assert sorted({*COMMANDS} - {"tandem_redis GET tandem:clock"}) == sorted(stored)
    for command, key in stored.items():
        valkey.client.hset(key, "until", "1")
        assert said(folder, command) == "1\n", command
        assert not valkey.client.exists(key), command


def test_the_clock_is_read_where_redis_url_says(folder: Path, valkey: Valkey) -> None:
    valkey.client.set(keys.CLOCK, "7 0")
    (folder / ".tandem" / "valkey" / "url").unlink()
    assert said(folder, "tandem_redis GET tandem:clock", REDIS_URL=valkey.url) == "7 0\n"


def test_all_shared_answers_are_forgotten_and_nothing_else(folder: Path, valkey: Valkey) -> None:
    [command] = [one for one in re.findall(r"```sh\n(.*?)```", OPERATIONS, re.DOTALL) if "tandem:answer:*" in one]
    valkey.client.mset({keys.answer(f"question {n}"): "job" for n in range(2500)} | {keys.CLOCK: "7 0"})
    said(folder, command)
    assert valkey.client.keys("*") == [keys.CLOCK]
