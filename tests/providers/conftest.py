"""A sandbox in a thread, shared and told to forget before each test; and each client in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tasks.providers.base import Provider
from tasks.providers.sandbox.thread import SandboxThread
from tests.providers.clients import MAKERS
from tests.providers.wire import Wire


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[SandboxThread]:
    with SandboxThread() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_server: SandboxThread) -> SandboxThread:
    """A running sandbox without a past."""
    requests.delete(f"{sandbox_server.url}/control", timeout=5).raise_for_status()
    return sandbox_server


@pytest.fixture(params=MAKERS)
def client(request: pytest.FixtureRequest, sandbox: SandboxThread) -> Iterator[Provider]:
    """Each of the four clients, at its own dialect."""
    made = MAKERS[request.param](sandbox.url)
    yield made
    made.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A TCP server whose every byte the test decides."""
    with Wire() as made:
        yield made
