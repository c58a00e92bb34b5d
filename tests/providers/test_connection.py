"""What goes back into the pool: looked at from inside, for the moments that no race can be made to hit."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasks.domain.errors import CallCut
from tasks.providers.base import Call
from tasks.providers.connection import CallAdapter, CallPool
from tasks.providers.sandbox.thread import SandboxThread
from tasks.providers.sandbox_client import SandboxClient
from tasks.providers.transport import Transport
from tests.providers.clients import BASES, MAKERS, a_call, chat
from tests.providers.wire import GOOD, Line, Wire
from tests.support.polling import until


class Watched(CallPool):
    """Shows what it holds, and can cut a call at the moment its connection comes back."""

    cut_now: Call | None = None

    class QueueCls(queue.LifoQueue[Any]):
        seen: list[Any] = []

        def put(self, item: Any, *args: Any, **kwargs: Any) -> None:
            if item is not None:
                self.seen.append((item.sock, item.last_call._socket))
            super().put(item, *args, **kwargs)

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.last_call = conn._call
            if self.cut_now:
                self.cut_now.cut("at the last moment")
        super()._put_conn(conn)


class Robbed(CallPool):
    """Whoever gives back an empty place finds a used connection next, as if another thread had taken the place."""

    def _put_conn(self, conn: Any) -> None:
        super()._put_conn(conn)
        if conn is None and self.pool is not None:
            empty, used = self.pool.get(block=False), self.pool.get(block=False)
            self.pool.put(empty)
            self.pool.put(used)


def use(monkeypatch: pytest.MonkeyPatch, kind: type[CallPool]) -> None:
    """Every pool made from now on is of this kind."""
    plain = CallAdapter.init_poolmanager

    def init(self: CallAdapter, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": kind}

    monkeypatch.setattr(CallAdapter, "init_poolmanager", init)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    Watched.QueueCls.seen = []
    use(monkeypatch, Watched)
    return Watched


def test_a_connection_is_nobodys_before_it_is_anybodys(watched: type[Watched], sandbox: SandboxThread) -> None:
    chat(MAKERS["sandbox"](sandbox.url), "echo")
    ((sock, lent_to),) = watched.QueueCls.seen
    assert sock is not None
    assert lent_to is None


def test_a_connection_cut_at_the_last_moment_goes_back_closed(
    watched: type[Watched], sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = a_call()
    monkeypatch.setattr(watched, "cut_now", call)
    client = SandboxClient(base_url=sandbox.url + BASES["sandbox"])
    with pytest.raises(CallCut):
        chat(client, "echo", call)
    ((sock, lent_to),) = watched.QueueCls.seen
    assert sock is None
    assert lent_to is None
    assert chat(client, "echo").result.content


def test_cutting_an_ended_call_leaves_the_connections_next_call_alone(sandbox: SandboxThread) -> None:
    client, first = MAKERS["vllm"](sandbox.url, concurrency=1), a_call()
    chat(client, "echo", first)
    with ThreadPoolExecutor() as pool:
        second = pool.submit(chat, client, "slow-200ms")
        until(lambda: sandbox.state.calls.in_flight, within_s=5)
        first.cut("too late")
        assert second.result(5).result.content
    assert sandbox.state.counts()["aborted"] == 0


def test_the_second_try_takes_no_stale_connection_either(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of the pool's connections are stale when one is tried, and another thread is first to the free place."""
    use(monkeypatch, Robbed)
    both_here = threading.Barrier(2)

    def serve(line: Line) -> None:
        line.request()
        if line.number < 2:
            both_here.wait(5)
        line.send(GOOD)
        line.request()

    wire.handler = serve
    client = SandboxClient(base_url=wire.url, concurrency=2)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(chat, client, "any") for _ in range(2)]
        assert all(one.result(10).result.content == "fine" for one in running)
    assert chat(client, "any").result.content == "fine"
    assert wire.accepted == 3


def test_no_environment_is_looked_at(sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment, or a .netrc, must not see or change what goes to a provider."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    transport = Transport(concurrency=1, connect_timeout_s=1)
    answer = transport.send("GET", f"{sandbox.url}/vllm/health", headers={}, body=None, call=a_call())
    assert answer.status == 200
