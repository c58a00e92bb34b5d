"""The fake engine's control panel, and an Engine that runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil

from tasks.engine.config import EngineConfig, State
from tasks.engine.server import Engine
from tasks.engine.traces import SHARED_MEMORY, Traces
from tests.support.polling import until

FAKE = Path(__file__).with_name("fake_vllm.py")


class Panel:
    """One fake engine below `folder`; the same one again for the same folder."""

    def __init__(self, folder: Path) -> None:
        self.model = folder / "model"
        self.run_dir = folder / "run"
        self.executable = folder / "vllm"
        self.model.mkdir(exist_ok=True)
        self.executable.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
        self.executable.chmod(0o755)
        self.traces = Traces(self.run_dir)

    def config(self, **changes: Any) -> EngineConfig:
        """Quick reactions, so that tests are quick."""
        settings: dict[str, Any] = {
            "model": str(self.model),
            "served_names": ("tiny",),
            "device": "cpu",
            "executable": self.executable,
            "run_dir": self.run_dir,
            "probe_interval_s": 0.1,
            "probe_timeout_s": 0.4,
            "backoff_s": 0.1,
        }
        return EngineConfig(**settings | changes)

    def tell(self, name: str) -> None:
        """Switch a misbehaviour on."""
        (self.model / name).touch()

    def untell(self, name: str) -> None:
        """Switch it off."""
        (self.model / name).unlink()

    def lines(self, name: str) -> list[str]:
        """What it noted so far."""
        noted = self.model / name
        return noted.read_text().splitlines() if noted.exists() else []

    def noted(self, name: str) -> Any:
        """What it noted as JSON."""
        return json.loads((self.model / name).read_text())

    def processes(self) -> list[psutil.Process]:
        """What runs of it."""
        return self.traces.processes()

    def scratch(self) -> Path:
        """Its folder for sockets."""
        return Path(json.loads((self.run_dir / "engine.json").read_text())["scratch"])

    def shared_memory(self) -> list[Path]:
        """Its files in /dev/shm."""
        names = json.loads((self.run_dir / "engine.json").read_text())["shared_memory"]
        return [SHARED_MEMORY / name for name in names]


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Watched:
    """An engine and the states it went through."""

    def __init__(self, config: EngineConfig) -> None:
        self.states: list[State] = []
        self.engine = Engine(config, on_state=self.states.append)

    def until(self, *states: State, within_s: float = 8) -> None:
        """Wait until it has gone through exactly these states."""
        until(lambda: self.states == list(states), within_s=within_s, what=f"{states} (it was {self.states})")
