"""A log that cannot be written fails no request, and workers whose master was killed take none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.polling import until
from tests.support.valkey import Valkey
from tests.web.gunicorn import Gunicorn

Start = Callable[[Path], Gunicorn]


@pytest.fixture
def start(environment: dict[str, str], valkey: Valkey) -> Iterator[Start]:
    started: list[Gunicorn] = []

    def begin(log: Path) -> Gunicorn:
        started.append(Gunicorn(environment, log))
        return started[-1].start()

    yield begin
    for server in started:
        assert server.stop() in (0, -signal.SIGKILL)


def post(server: Gunicorn, **headers: str) -> requests.Response:
    return requests.post(f"{server.url}/jobs", json={"prompt": "hi"}, headers=headers, timeout=30)


def test_a_log_whose_reader_is_gone_fails_nothing(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    os.mkfifo(log)
    with subprocess.Popen(["/bin/cat", str(log)], stdout=subprocess.DEVNULL) as reader:
        server = start(log)
        reader.kill()
    assert [post(server).status_code for _ in range(3)] == [202, 202, 202]


def test_workers_of_a_killed_master_answer_whom_they_have_and_take_no_more(
    start: Start, valkey: Valkey, log_file: Path
) -> None:
    server = start(log_file)
    orphans = [psutil.Process(pid) for pid in server.workers()]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, server, Prefer="wait=30")
        until(lambda: valkey.client.llen("api.sandbox"), within_s=10)
        server.kill()
        until(lambda: not _is_listened_on(server.port), within_s=10, what="the port being free")
        assert waiting.result(10).status_code == 202
    _, alive = psutil.wait_procs(orphans, timeout=10)
    assert alive == []


def _is_listened_on(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionError:
        return False
    return True
