"""An installation as a test wants it: its settings, its gpu workers."""

from __future__ import annotations

import pytest

from tasks.store import fleet
from tasks.store.fleet import Worker
from tests.conftest import forget_caches


def given(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    forget_caches()


def gpu_worker(
    state: str = "ready", model: str = "tiny-chat", ready_in_s: float = 0.0, *, queue: str = "gpu", name: str = "gpu0"
) -> None:
    fleet.default().hello(Worker(name=name, queues=queue, state=state, model=model, ready_in_s=ready_in_s))
