"""A control panel per test, and engines that are stopped whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.panel import Panel, Watched


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[Panel]:
    panel = Panel(tmp_path)
    yield panel
    panel.traces.clear()


@pytest.fixture
def run(panel: Panel) -> Iterator[Callable[..., Watched]]:
    """Start the panel's engine with some settings changed."""
    started: list[Watched] = []

    def start(**changes: Any) -> Watched:
        started.append(Watched(panel.config(**changes)))
        started[-1].engine.start()
        return started[-1]

    yield start
    for watched in started:
        watched.engine.stop(0)
