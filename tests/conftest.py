"""What every test may use: no environment but its own, and a real Valkey, emptied before each test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import _lru_cache_wrapper
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tasks.store import events
from tests import environment
from tests.support.valkey import Valkey

# How long an example takes says something of the machine only.
settings.register_profile("tandem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tandem")


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
    for cached in caches():
        cached.cache_clear()


def caches() -> list[_lru_cache_wrapper[Any]]:
    """The functions of ours that remember what they have made. What is not imported yet has made nothing."""
    ours = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in ("tasks", "web")]
    return [one for module in ours for one in vars(module).values() if isinstance(one, _lru_cache_wrapper)]
