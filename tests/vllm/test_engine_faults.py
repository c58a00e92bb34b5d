"""A real engine is killed, stopped in its tracks, drained and orphaned."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tasks.engine.config import State
from tests.engine.panel import alive
from tests.support.polling import until
from tests.vllm.real import START_S, Real

pytestmark = pytest.mark.timeout(400)


def test_a_killed_engine_core_is_noticed_and_the_engine_comes_back(engine: Real) -> None:
    engine.core().kill()
    until(lambda: engine.engine.state is not State.READY, within_s=10, what="the loss")
    engine.make_ready()
    assert engine.chat("Say hello.") == ("Hello from the tiny model!", "stop")


def test_a_stopped_engine_core_is_noticed_though_health_says_200(engine: Real) -> None:
    core = engine.core()
    core.suspend()
    assert requests.get(f"{engine.engine.base_url}/health", timeout=5).status_code == 200
    engine.engine.suspect()
    until(lambda: engine.engine.state is not State.READY, within_s=20, what="the loss")
    engine.make_ready()
    assert not alive(core)
    assert engine.chat("Say hello.") == ("Hello from the tiny model!", "stop")


def test_a_lone_long_prompt_is_not_taken_for_a_hang(tmp_path: Path) -> None:
    """While it is read in parts vLLM counts no token, and a probe behind it is not answered."""
    long = ["--max-model-len", "32768", "--hf-overrides", '{"max_position_embeddings": 32768}']
    engine = Real(tmp_path, *long, "--max-num-batched-tokens", "256", probe_timeout_s=1)
    try:
        engine.make_ready()
        body = {"model": "default", "prompt": [7] * 32_000, "max_tokens": 1}
        url = f"{engine.engine.base_url}/v1/completions"
        answer = requests.post(url, json=body, headers=engine.headers(), timeout=300)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["prompt_tokens"] == 32_000
        assert engine.engine.why_lost is None
        assert engine.states.count(State.READY) == 1
    finally:
        engine.engine.stop(0)


def test_a_drain_lets_the_request_in_flight_finish(engine: Real) -> None:
    body = {"model": "default", "prompt": "1", "max_tokens": 1000, "ignore_eos": True, "stream": True}
    url = f"{engine.engine.base_url}/v1/completions"
    asked = requests.post(url, json=body, headers=engine.headers(), timeout=60, stream=True)
    with asked as response, ThreadPoolExecutor(1) as stopper:
        events = (json.loads(line[6:]) for line in response.iter_lines() if line.startswith(b"data: {"))
        assert next(events)["choices"][0]["finish_reason"] is None
        stopping = stopper.submit(engine.engine.stop, 30)
        until(lambda: engine.engine.state is State.DRAINING, within_s=2)
        assert [event["choices"][0]["finish_reason"] for event in events][-1] == "length"
        stopping.result()
    assert engine.engine.state is State.STOPPED
    assert engine.traces.processes() == []


def test_what_a_killed_worker_left_is_gone_at_the_next_start(sole_engine: Real) -> None:
    engine = sole_engine
    engine.engine.stop(0)
    parent = subprocess.Popen([sys.executable, "-m", "tests.vllm.parent", str(engine.run_dir)])
    record = engine.run_dir / "engine.json"
    until(lambda: record.exists() and "shared_memory" in record.read_text(), within_s=START_S, what="readiness")
    left, noted = engine.traces.processes(), json.loads(record.read_text())
    server = psutil.Process(noted["pid"])
    server.suspend()  # it must not end by itself when its parent does
    parent.kill()
    parent.wait()
    server.kill()
    until(lambda: not alive(server), within_s=5)
    assert any(alive(process) for process in left)
    engine.make_ready()
    assert not any(alive(process) for process in left)
    assert not Path(noted["scratch"]).exists()
    assert not [name for name in noted["shared_memory"] if (Path("/dev/shm") / name).exists()]
