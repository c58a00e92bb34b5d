"""`make run` up and running: where it answers, what it restarts, who it disturbs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator

import pytest
import requests
from redis import Redis
from redis.exceptions import AuthenticationError

from tasks.launcher.memory import available_bytes
from tests.launcher.launched import COMMAND, FOLDER, Launched, survivors
from tests.support.polling import until
from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with Launched(tmp_path_factory.mktemp("run") / "data", AWS_SECRET_ACCESS_KEY="aws") as launched:
        yield launched.ready()


def test_every_printed_url_answers(run: Launched) -> None:
    for url in (f"{run.url}/readyz", f"{run.url}/docs", run.flower_url):
        assert url.removesuffix("/readyz") in run.output()
        assert requests.get(url, timeout=5).status_code == 200


def test_the_printed_curl_works_as_pasted_and_says_that_it_is_simulated(run: Launched) -> None:
    line = next(line for line in run.output().splitlines() if line.strip().startswith("curl"))
    answer = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True).stdout
    assert '"status":"completed"' in answer.replace(" ", "")
    assert "simulated" in answer
    assert "  api      sandbox, simulated answers: set NVIDIA_API_KEY" in run.output()


def test_flower_lets_nobody_do_anything(run: Launched) -> None:
    answer = requests.post(f"{run.flower_url}/api/task/async-apply/tasks.api.run", json={"args": ["x", 0]}, timeout=5)
    assert answer.status_code in (401, 403)


def test_flower_shows_the_queues_on_which_work_waits(run: Launched) -> None:
    shown = requests.get(f"{run.flower_url}/broker", timeout=10).text
    assert {"api.sandbox", "batch"} <= set(re.findall(r'<tr id="([^"]*)">', shown))


def test_a_page_of_another_site_reaches_neither_the_web_nor_flower(run: Launched) -> None:
    for url in (f"{run.url}/jobs", f"{run.flower_url}/api/workers", f"{run.flower_url}/static/css/flower.css"):
        assert requests.get(url, headers={"Host": "evil.example:8000"}, timeout=5).status_code == 421
    for url in (f"{run.url}/jobs", f"{run.flower_url}/api/worker/shutdown/x"):
        answer = requests.post(url, headers={"Origin": "http://evil.example"}, json={"prompt": "hi"}, timeout=5)
        assert answer.status_code == 403
    shown = requests.get(run.flower_url.replace("127.0.0.1", "localhost"), timeout=5)
    assert (shown.status_code, "/static/js/flower.js" in shown.text) == (200, True)


def test_the_embedded_valkey_lets_no_stranger_in_and_drops_nothing(run: Launched) -> None:
    url = (run.data / "valkey" / "url").read_text().strip()
    with pytest.raises(AuthenticationError):
        Redis.from_url(f"redis://{url.split('@')[1]}").ping()
    settings = Redis.from_url(url, decode_responses=True).config_get("maxmemory-policy", "appendonly", "maxmemory")
    half = str(available_bytes() // 2)
    assert settings == {"maxmemory-policy": "noeviction", "appendonly": "yes", "maxmemory": half}


def test_nobody_else_tells_the_sandbox_how_to_answer(run: Launched) -> None:
    upstream = next(p for p in survivors(run.data) if "tasks.providers.sandbox" in p.cmdline())
    url = f"http://127.0.0.1:{upstream.cmdline()[-1]}"
    assert requests.put(f"{url}/control", json={"rpm": 1}, timeout=5).status_code == 401
    assert requests.get(f"{url}/control/calls", timeout=5).status_code == 401


def test_its_processes_see_nothing_of_the_environment_that_they_do_not_need(run: Launched) -> None:
    assert run.env["AWS_SECRET_ACCESS_KEY"]
    for process in survivors(run.data):
        if process.pid != run.process.pid:
            assert "AWS_SECRET_ACCESS_KEY" not in process.environ(), process.cmdline()


def test_nobody_else_reads_what_it_writes(run: Launched) -> None:
    run.post(wait_s=20)
    assert stat.S_IMODE(run.data.stat().st_mode) == 0o700
    files = [path for path in run.data.rglob("*") if not path.is_symlink()]
    assert {path.name for path in files} > {"appendonlydir", "web.log", "api.log"}
    assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_a_killed_worker_is_started_again_and_works(run: Launched) -> None:
    killed = until(lambda: run.pid_of("api"), within_s=5)
    os.kill(killed, signal.SIGKILL)
    until(lambda: run.pid_of("api") not in (0, killed), within_s=10, what="another worker")
    assert run.post(wait_s=20)["status"] == "completed"
    until(lambda: "terminated by SIGKILL" in run.output(), within_s=5, what="a word about it")


def test_a_killed_valkey_is_started_again_with_its_data(run: Launched) -> None:
    job = run.post(wait_s=20)
    next(p for p in survivors(run.data) if "valkey" in p.name()).kill()
    until(lambda: requests.get(f"{run.url}/readyz", timeout=10).ok, within_s=15)
    assert run.job(job["id"])["result"] == job["result"]
    assert run.post(wait_s=20)["status"] == "completed"


def test_a_second_one_in_the_same_data_folder_is_refused(run: Launched) -> None:
    command = subprocess.run(COMMAND, env=run.env, cwd=FOLDER, capture_output=True, text=True, timeout=20)
    assert command.returncode == 1
    assert command.stderr.startswith(f"error: another make run (process {run.process.pid})")
    assert requests.get(f"{run.url}/readyz", timeout=5).ok


def test_two_side_by_side_do_not_disturb_each_other(run: Launched, valkey_server: Valkey) -> None:
    """The second has a Redis of its own, a folder whose name is too long for a socket, and a key of another's kind."""
    data = run.data.parent / ("long-" * 20) / "data"
    data.parent.mkdir()
    before = {process.pid for process in survivors(run.data)}
    upstream = next(p for p in survivors(run.data) if "tasks.providers.sandbox" in p.cmdline())
    url = f"http://127.0.0.1:{upstream.cmdline()[-1]}/v1"
    with Launched(data, REDIS_URL=valkey_server.url, NVIDIA_API_KEY="wrong", NVIDIA_BASE_URL=url) as second:
        second.ready()
        assert second.output().count("warning: NVIDIA_API_KEY") == 1
        assert "wrong" not in second.output()
        assert "no append-only file" in second.output()
        assert second.post(wait_s=20)["status"] == "completed"
        second.interrupt(signal.SIGTERM)
        second.stopped()
    assert valkey_server.client.ping()
    assert {process.pid for process in survivors(run.data)} == before
    assert run.post(wait_s=20)["status"] == "completed"
