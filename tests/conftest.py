"""What every test may use: no environment but its own, and a real Valkey, emptied before each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks import catalog, intake, quotas, serving, settings
from tasks.files import disk
from tasks.store import (
    batch_work,
    batches,
    capacity,
    circuits,
    connection,
    due,
    durability,
    events,
    fleet,
    jobs,
    learned,
    limits,
    lines,
    media,
    steps,
    usage,
)
from tests import environment
from tests.support.valkey import Valkey

CACHED: list[Callable[..., Any]] = [
    settings.get, catalog.models, catalog._by_provider, serving.provider, connection.default, jobs.default,
    due.default, fleet.default, capacity.default, durability.default, events.waiters, lines.default, usage.default,
    catalog.index, learned.default, connection.binary, media.default, intake.fetcher,
    quotas.default, limits.default, circuits.default, disk.default,
    batches.default, batch_work.default, steps.default,
]  # fmt: skip


def pytest_configure() -> None:
    """Before any test module is imported: some read their environment then."""
    environment.forget()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), append_only=False).start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: Valkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    """An empty Valkey, and this process' settings and stores pointing at it."""
    valkey_server.client.flushall()
    monkeypatch.setenv("REDIS_URL", valkey_server.url)
    forget_caches()
    yield valkey_server
    forget_caches()


def forget_caches() -> None:
    """Let settings and connections be made anew from the environment."""
    if events.waiters.cache_info().currsize:
        events.waiters().stop()
    for cached in CACHED:
        cached.cache_clear()  # type: ignore[attr-defined]
