"""A web server, a name server, and a record of every connection that is begun."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.images.servers import NameServer, WebServer

_connections: list[Any] = []
_hooked: list[bool] = []


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer().running() as server:
        yield server


@pytest.fixture(scope="session")
def name_server() -> Iterator[NameServer]:
    with NameServer().running() as server:
        yield server


@pytest.fixture
def names(name_server: NameServer) -> NameServer:
    """A name server that knows nothing yet."""
    name_server.names.book.clear()
    name_server.names.asked.clear()
    return name_server


@pytest.fixture
def connections() -> list[Any]:
    """The address of every connect() of this process from now on, as the interpreter itself reports it."""
    if not _hooked:
        sys.addaudithook(lambda event, args: _connections.append(args[1]) if event == "socket.connect" else None)
        _hooked.append(True)
    _connections.clear()
    return _connections
