"""An engine is started, used and stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import psutil
import pytest
import requests

from tasks.engine.config import State
from tasks.engine.server import Engine
from tests.engine.panel import Panel, Watched
from tests.support.polling import until

LOADING, READY, BROKEN, DRAINING, STOPPED = State.LOADING, State.READY, State.BROKEN, State.DRAINING, State.STOPPED
Run = Callable[..., Watched]


def test_an_engine_loads_and_is_ready(run: Run) -> None:
    watched = run()
    watched.until(LOADING, READY)
    engine = watched.engine
    assert engine.base_url is not None
    assert requests.get(f"{engine.base_url}/health", timeout=2).ok
    assert engine.loading_s is not None
    assert 0 < engine.loading_s < 8


def test_a_stopped_engine_leaves_nothing(panel: Panel, run: Run) -> None:
    watched = run()
    watched.until(LOADING, READY)
    scratch, shared = panel.scratch(), panel.shared_memory()
    assert scratch.is_dir()
    assert [file for file in shared if file.exists()]
    watched.engine.stop(5)
    assert watched.states == [LOADING, READY, DRAINING, STOPPED]
    assert watched.engine.base_url is None
    assert panel.processes() == []
    assert not scratch.exists()
    assert not [file for file in shared if file.exists()]


def test_a_request_in_flight_finishes_before_the_end(panel: Panel, run: Run) -> None:
    watched = run()
    watched.until(LOADING, READY)
    answers: list[int] = []
    url = f"{watched.engine.base_url}/slow"
    caller = threading.Thread(target=lambda: answers.append(requests.post(url, timeout=5).status_code))
    caller.start()
    until(lambda: panel.lines("slow"), within_s=3)
    watched.engine.stop(5)
    caller.join()
    assert answers == [200]


def test_an_engine_that_ignores_sigterm_is_killed_after_the_grace(panel: Panel, run: Run) -> None:
    panel.tell("deaf")
    watched = run()
    watched.until(LOADING, READY)
    began = time.monotonic()
    watched.engine.stop(0.5)
    assert 0.5 <= time.monotonic() - began < 2
    assert panel.processes() == []
    assert watched.engine.state is STOPPED


def test_a_hung_engine_can_be_stopped(panel: Panel, run: Run) -> None:
    watched = run(probe_timeout_s=60)
    watched.until(LOADING, READY)
    panel.tell("hangs")
    watched.engine.suspect()
    until(lambda: len(panel.lines("probes")) > 1, within_s=3)
    watched.engine.stop(0.2)
    assert watched.engine.state is STOPPED


def test_a_loading_engine_is_stopped_at_once(panel: Panel, run: Run) -> None:
    panel.tell("hangs")
    watched = run()
    until(lambda: panel.lines("probes"), within_s=30)
    began = time.monotonic()
    watched.engine.stop(30)
    assert time.monotonic() - began < 2
    assert watched.states == [LOADING, STOPPED]
    assert panel.processes() == []


def test_stopping_twice_or_before_the_start_does_nothing(panel: Panel) -> None:
    watched = Watched(panel.config())
    watched.engine.stop(1)
    watched.engine.start()
    watched.engine.start()
    watched.until(LOADING, READY)
    watched.engine.stop(1)
    watched.engine.stop(1)
    assert watched.states == [LOADING, READY, DRAINING, STOPPED]


def test_a_stopped_engine_can_be_started_again(panel: Panel, run: Run) -> None:
    watched = run()
    watched.until(LOADING, READY)
    watched.engine.stop(1)
    watched.engine.start()
    watched.until(LOADING, READY, DRAINING, STOPPED, LOADING, READY)
    assert (panel.run_dir / "engine.log.1").exists()


def test_a_listener_that_fails_does_not_end_the_supervision(panel: Panel) -> None:
    def fail(_state: State) -> None:
        raise ValueError

    engine = Engine(panel.config(), on_state=fail)
    engine.start()
    until(lambda: engine.state is READY, within_s=30)
    engine.stop(1)


def test_the_engine_answers_nobody_without_the_key_of_this_start(panel: Panel, run: Run) -> None:
    engine, keys = run().engine, set()
    for _ in range(2):
        engine.start()
        until(lambda: engine.state is READY, within_s=30)
        url, key = f"{engine.base_url}/v1/completions", engine.api_key
        assert requests.post(url, json={}, timeout=5).status_code == 401
        assert requests.post(url, json={}, headers={"Authorization": f"Bearer {key}"}, timeout=5).status_code == 200
        commands = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
        assert any(str(panel.executable) in line for line in commands)
        assert not any(key in line for line in commands)
        keys.add(key)
        engine.stop(0)
        until(lambda: engine.state is STOPPED, within_s=10)
    assert len(keys) == 2


def test_the_engine_does_not_see_what_is_the_services_own(
    panel: Panel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = (
        "AWS_SECRET_ACCESS_KEY",
        "TANDEM_API_KEYS",
        "NVIDIA_API_KEY",
        "OPENROUTER_API_KEY",
        "REDIS_URL",
        "PROMETHEUS_MULTIPROC_DIR",
    )
    for name in (*hidden, "PYTHONPATH", "CUDA_VISIBLE_DEVICES", "HF_TOKEN", "HF_HOME"):
        monkeypatch.setenv(name, "seen")
    run().until(LOADING, READY)
    seen = panel.noted("environ.json")
    assert {name for name, value in seen.items() if value == "seen"} == {"HF_TOKEN", "HF_HOME"}
    assert seen["TANDEM_ENGINE"] == str(panel.run_dir)
    assert seen["HF_HUB_OFFLINE"] == "1"
    assert len(os.fsencode(seen["VLLM_RPC_BASE_PATH"])) <= 60
