"""Which addresses count as this machine's own."""

from __future__ import annotations

import socket

import pytest

from tasks import settings
from tests.support.valkey import Valkey
from web import server

OWN = [("127.0.0.1", 1), ("127.9.9.9", 1), ("localhost", 1), ("::1", 1, 0, 0), "/run/web.sock"]
OPEN = [
    ("0.0.0.0", 1),
    ("", 1),
    ("::", 1),
    ("198.51.100.7", 1),
    ("::ffff:198.51.100.7", 1),
    ("no-such-host.invalid", 1),
]


@pytest.mark.parametrize("address", OWN)
def test_this_machine_itself_is_private(address: object) -> None:
    assert server.is_private(address)


@pytest.mark.parametrize("address", OPEN)
def test_everything_else_needs_keys(address: object, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="refusing to serve"):
        server.refuse_open_doors([("127.0.0.1", 1), address])
    monkeypatch.setenv("TANDEM_API_KEYS", "ann:one")
    settings.get.cache_clear()
    server.refuse_open_doors([address])


def test_an_inherited_socket_is_asked_where_it_listens() -> None:
    for host, own in (("127.0.0.1", True), ("0.0.0.0", False)):
        with socket.create_server((host, 0)) as listening:
            assert server.is_private(listening.fileno()) is own
            assert listening.fileno() > 0
