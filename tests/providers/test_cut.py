"""A call is ended from another thread: at once, seen upstream, and without harm to any other call."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from tasks.domain.errors import CallCut
from tasks.domain.provider_errors import ProviderTimeout
from tasks.domain.result import ChatResult, Completion
from tasks.providers.base import DEADLINE, Call, Provider
from tasks.providers.sandbox.thread import SandboxThread
from tests.providers.clients import MAKERS, a_call, chat
from tests.support.polling import until

AT_ONCE_S = 0.5
RACES = 200


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(16)


def hanging(
    pool: ThreadPoolExecutor, client: Provider, sandbox: SandboxThread
) -> tuple[Call, Future[Completion[ChatResult]]]:
    """A call that has arrived upstream and will never be answered."""
    before, call = sandbox.state.calls.in_flight, a_call()
    running = pool.submit(chat, client, "hang", call)
    until(lambda: sandbox.state.calls.in_flight > before, within_s=5)
    return call, running


def assert_ends_cut(running: Future[Completion[ChatResult]], why: str) -> None:
    with pytest.raises(CallCut) as raised:
        running.result(AT_ONCE_S)
    assert raised.value.why == why


def test_a_hanging_call_is_cut_and_the_next_one_works(
    client: Provider, sandbox: SandboxThread, pool: ThreadPoolExecutor
) -> None:
    call, running = hanging(pool, client, sandbox)
    call.cut("cancelled")
    assert_ends_cut(running, "cancelled")
    until(lambda: sandbox.state.counts()["aborted"] == 1, within_s=AT_ONCE_S)
    assert chat(client, "echo").result.content


def test_a_call_on_a_reused_connection_is_cut(sandbox: SandboxThread, pool: ThreadPoolExecutor) -> None:
    client = MAKERS["nim"](sandbox.url, concurrency=1)
    for _ in range(3):
        chat(client, "echo")
        call, running = hanging(pool, client, sandbox)
        call.cut("cancelled")
        assert_ends_cut(running, "cancelled")
    until(lambda: sandbox.state.counts()["by_outcome"] == {"answered": 3, "aborted": 3}, within_s=AT_ONCE_S)


def test_a_call_cut_before_it_begins_sends_nothing(client: Provider, sandbox: SandboxThread) -> None:
    call = a_call()
    call.cut("cancelled")
    with pytest.raises(CallCut):
        chat(client, "echo", call)
    assert sandbox.state.counts()["calls"] == 0


def test_a_call_waiting_for_a_connection_is_cut(sandbox: SandboxThread, pool: ThreadPoolExecutor) -> None:
    client = MAKERS["sandbox"](sandbox.url, concurrency=1)
    first, first_running = hanging(pool, client, sandbox)
    second = a_call()
    second_running = pool.submit(chat, client, "echo", second)
    second.cut("cancelled")
    assert_ends_cut(second_running, "cancelled")
    first.cut("drained")
    assert_ends_cut(first_running, "drained")
    assert chat(client, "echo").result.content


def test_a_queued_call_is_cut_while_it_is_polled_for(sandbox: SandboxThread, pool: ThreadPoolExecutor) -> None:
    call = a_call()
    running = pool.submit(chat, MAKERS["nim"](sandbox.url), "nvcf-202+slow-60000ms", call)
    until(lambda: sandbox.state.counts()["polls"] == 1, within_s=5)
    call.cut("cancelled")
    assert_ends_cut(running, "cancelled")


def test_cutting_twice_or_after_the_end_does_nothing(client: Provider) -> None:
    call = a_call()
    chat(client, "echo", call)
    call.cut("too late")
    call.cut("again")
    assert call.why_cut == "too late"
    assert chat(client, "echo").result.content


def test_a_watcher_enforces_the_deadline(client: Provider, sandbox: SandboxThread, pool: ThreadPoolExecutor) -> None:
    call = a_call(timeout_s=0.2)
    running = pool.submit(chat, client, "hang", call)
    until(call.overdue, within_s=5)
    call.cut(DEADLINE)
    assert_ends_cut(running, DEADLINE)


def test_without_a_watcher_the_read_times_out_a_little_later(sandbox: SandboxThread) -> None:
    started = time.monotonic()
    with pytest.raises(ProviderTimeout):
        chat(MAKERS["vllm"](sandbox.url), "hang", a_call(timeout_s=0.1))
    assert time.monotonic() - started < 3


def test_a_call_without_time_sends_nothing(client: Provider, sandbox: SandboxThread) -> None:
    with pytest.raises(ProviderTimeout):
        chat(client, "echo", a_call(timeout_s=0))
    assert sandbox.state.counts()["calls"] == 0


class Aim:
    """When to cut so that it meets the answer: later each time the cut came first, sooner when the answer did."""

    def __init__(self) -> None:
        self.delay_s, self.cut, self.whole = 0.01, 0, 0
        self._lock = threading.Lock()

    def was_too_soon(self) -> None:
        with self._lock:
            self.cut += 1
            self.delay_s *= 1.1

    def was_too_late(self) -> None:
        with self._lock:
            self.whole += 1
            self.delay_s /= 1.1


def test_a_cut_that_races_with_the_end_never_reaches_another_call(
    sandbox: SandboxThread, pool: ThreadPoolExecutor
) -> None:
    """Half of the calls are cut at about the moment of their end, on connections that all share."""
    client, aim = MAKERS["sandbox"](sandbox.url), Aim()

    def race(n: int) -> None:
        call = a_call()
        threading.Timer(aim.delay_s, call.cut, [f"race {n}"]).start()
        try:
            assert chat(client, "echo", call).result.content
            aim.was_too_late()
        except CallCut as cut:
            assert cut.why == f"race {n}"
            aim.was_too_soon()

    running = [pool.submit(what) for n in range(RACES) for what in (partial(race, n), partial(chat, client, "echo"))]
    for one in running:
        one.result(20)
    assert min(aim.cut, aim.whole) > RACES // 20
