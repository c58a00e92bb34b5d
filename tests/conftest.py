"""What every test may use: a real Valkey, emptied before each test, and settings that point at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks import catalog, quotas, serving, settings
from tasks.store import capacity, connection, due, durability, events, fleet, jobs, limits
from tests.support.valkey import Valkey

CACHED: list[Callable[..., Any]] = [
    settings.get, quotas.default, catalog.models, serving.provider, connection.default, jobs.default, due.default,
    fleet.default, limits.default, capacity.default, durability.default, events.waiters,
]  # fmt: skip

#: What the environment of a test run must not bring in: the tests need neither key nor network.
CLEARED = ("NVIDIA_API_KEY", "NVIDIA_BASE_URL", "OPENROUTER_API_KEY", "TANDEM_API_KEYS", "TANDEM_MODEL",
           "TANDEM_API_MODEL", "TANDEM_SANDBOX_URL", "TANDEM_CATALOG", "CELERY_BROKER_URL",
           "CELERY_RESULT_BACKEND")  # fmt: skip


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), append_only=False).start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: Valkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    """An empty Valkey, and this process' settings and stores pointing at it."""
    valkey_server.client.flushall()
    for name in CLEARED:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("TANDEM_ENV_FILE", "/dev/null")
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
