"""`make run` with an engine and no key: nobody simulates, whatever becomes of the engine."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import requests

from tests.engine.panel import Panel
from tests.launcher.launched import Launched, survivors
from tests.support.polling import until


def test_a_house_with_an_engine_simulates_nothing_while_it_loads_and_after_it_was_killed(tmp_path: Path) -> None:
    engine = Panel(tmp_path)
    engine.tell("fails")
    own: dict[str, Any] = {"TANDEM_VLLM": str(engine.executable), "TANDEM_MODEL": str(engine.model)}
    with Launched(tmp_path / "data", **own) as run:
        run.ready()
        assert "api      nobody" in run.output()
        assert not any("tasks.providers.sandbox" in process.cmdline() for process in survivors(run.data))
        loading = run.post()
        until(lambda: (engine.model / "starts").exists(), within_s=30, what="a start of the engine")
        os.kill(until(lambda: run.pid_of("gpu"), within_s=10), signal.SIGKILL)
        killed = run.post()
        refused = requests.post(f"{run.url}/jobs", json={"prompt": "Hello?", "mode": "api"}, timeout=10)
        said = "no hosted provider is configured: set NVIDIA_API_KEY or OPENROUTER_API_KEY"
        assert (refused.status_code, refused.json()["detail"]) == (503, said)
        assert int(refused.headers["Retry-After"]) >= 1
        for job in (loading, killed):
            found = run.job(job["id"])
            assert (found["status"], found["simulated"], found["attempts"]) == ("pending", False, [])
