"""What a worker does as its engine lives and dies."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tasks import serving, settings
from tasks.domain.provider_errors import ProviderError
from tasks.domain.request import ChatRequest, Message
from tasks.process import WorkerProcess
from tasks.providers.base import Call
from tasks.serving import Serving
from tasks.worker.beat import Beat
from tasks.worker.engine import EngineKeeper
from tasks.worker.gate import Gate
from tests.engine.panel import Panel
from tests.support.polling import until
from tests.support.valkey import Valkey

CALLS = 8


def ask_at_once(panel: Panel, by: Serving) -> None:
    """So many calls that each has a connection of its own."""
    provider = serving.provider(by.provider, by.base_url, by.api_key)
    request = ChatRequest(messages=(Message(role="user", content="hi"),))

    def ask() -> None:
        with contextlib.suppress(ProviderError):  # what the fake says is no chat
            provider.complete("", request, Call(request_id="job", timeout_s=20))

    panel.tell("hangs")
    before = len(panel.lines("probes"))
    threads = [threading.Thread(target=ask) for _ in range(CALLS)]
    for thread in threads:
        thread.start()
    until(lambda: len(panel.lines("probes")) >= before + CALLS, within_s=10)
    panel.untell("hangs")
    for thread in threads:
        thread.join()


def port_of(base_url: str) -> int:
    return int(base_url.split(":")[2].split("/")[0])


def die(base_url: str) -> None:
    """By a socket of its own: the error of a client library would hold its connection until it is collected."""
    with socket.create_connection(("127.0.0.1", port_of(base_url)), timeout=5) as engine:
        engine.sendall(b"POST /die HTTP/1.1\r\nHost: engine\r\nContent-Length: 0\r\n\r\n")
        assert engine.recv(1) == b""


def connections_to(base_url: str) -> int:
    port = port_of(base_url)
    return sum(bool(one.raddr) and one.raddr.port == port for one in psutil.Process().net_connections("tcp4"))


def test_no_connection_to_an_engine_outlives_it(
    tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = Panel(tmp_path)
    panel.tell("keeps")
    for name, value in {"VLLM": panel.executable, "MODEL": panel.model, "DATA": tmp_path}.items():
        monkeypatch.setenv(f"TANDEM_{name}", str(value))
    here = WorkerProcess(name="w", servings=(serving.local(settings.get()),), isolation_slots=1, capacity=CALLS)
    gate = Gate(SimpleNamespace(), [])
    keeper = EngineKeeper(here, gate, Beat(here, gate, capacity=CALLS))
    keeper.start()
    try:
        first = until(lambda: here.servings[0].base_url, within_s=60, what="the engine being ready")
        assert not here.engine_turn.book(), "after a load others do not go first"
        ask_at_once(panel, here.servings[0])
        assert connections_to(first) >= CALLS  # on a slow machine its probe holds one, too
        die(first)
        here.on_engine_lost()
        until(lambda: here.servings[0].base_url not in ("", first), within_s=60, what="its next life")
        until(lambda: connections_to(first) == 0, within_s=10, what="the end of its connections")
        assert serving.provider.cache_info().currsize <= 1, "a client for each life is kept"
    finally:
        keeper.stop(0)
