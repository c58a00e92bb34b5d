"""The sandbox as a process of its own: its URL, its end, its log."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tasks.domain.provider_errors import ConnectionLost
from tests.providers.clients import MAKERS, chat
from tests.support.polling import until


class Process:
    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-m", "tasks.providers.sandbox", "--port", "0", "--log", str(log)]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        self.url = self.popen.stdout.readline().strip()

    def in_flight(self) -> int:
        count: int = requests.get(f"{self.url}/control/counts", timeout=5).json()["in_flight"]
        return count


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


@pytest.fixture
def process(log: Path) -> Iterator[Process]:
    made = Process(log)
    yield made
    made.popen.kill()
    made.popen.wait(5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_with_a_call_in_flight(process: Process, log: Path, number: signal.Signals) -> None:
    with ThreadPoolExecutor() as pool:
        running = pool.submit(chat, MAKERS["sandbox"](process.url), "hang")
        until(lambda: process.in_flight() == 1, within_s=5)
        process.popen.send_signal(number)
        assert process.popen.wait(3) == 0
        with pytest.raises(ConnectionLost):
            running.result(3)
    assert events(log)[-1]["outcome"] == "dropped"


def test_a_kill_loses_nothing_of_the_log(process: Process, log: Path) -> None:
    client = MAKERS["nim"](process.url)
    chat(client, "echo")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(chat, client, "hang")
        # A call counts as in flight from its first byte; it is logged once its body has said which model it wants.
        until(lambda: process.in_flight() == 1 and len(events(log)) == 3, within_s=5)
        process.popen.kill()
        with pytest.raises(ConnectionLost):
            running.result(5)
    said = [(e["event"], e["seq"], e["model"], e["outcome"]) for e in events(log)]
    assert said == [
        ("arrived", 1, "sandbox/echo:free", "in_flight"),
        ("ended", 1, "sandbox/echo:free", "answered"),
        ("arrived", 2, "sandbox/hang:free", "in_flight"),
    ]
    assert "hello" not in log.read_text()
    assert "nvapi" not in log.read_text()


def events(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]
