"""One engine for all of these tests; whoever ended it, the next test finds it ready."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vllm import real
from tests.vllm.real import Real

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder needs a real engine."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)


@pytest.fixture(scope="session")
def sole_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """That engine, in whatever state it was left."""
    real.require()
    one = Real(tmp_path_factory.mktemp("engine"), "--max-model-len", "2048")
    yield one
    one.engine.stop(0)


@pytest.fixture
def engine(sole_engine: Real) -> Real:
    """A real engine, ready."""
    sole_engine.make_ready()
    return sole_engine
