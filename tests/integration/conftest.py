"""One running service for the tests of this folder; what a test tells the sandbox is forgotten after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.service import Service


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service"), env={"TANDEM_DURABLE_ACCEPT": "1"}) as service:
        yield service


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    running.http.delete(f"{running.sandbox_root}/control", timeout=5).raise_for_status()
    yield running
    running.http.delete(f"{running.sandbox_root}/control", timeout=5).raise_for_status()
