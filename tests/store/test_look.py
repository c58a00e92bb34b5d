"""Many threads that need the same look at Redis ask once; while Redis is frozen none of them waits for another's."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.domain.errors import Unavailable
from tasks.store import capacity, connection, durability
from tasks.store.look import Look
from tests.support.valkey import Valkey

THREADS = 32


def test_those_who_come_while_it_is_under_way_get_the_same_answer_and_the_next_asks_anew() -> None:
    asked, may_answer = [], threading.Event()

    def ask() -> int:
        asked.append(1)
        may_answer.wait(10)
        return len(asked)

    look = Look(ask)
    with ThreadPoolExecutor(THREADS) as pool:
        first = pool.submit(look.take)
        others = [pool.submit(look.take) for _ in range(THREADS - 1)]
        time.sleep(0.05)
        may_answer.set()
        answers = {first.result(10), *(one.result(10) for one in others)}
    # A late one may have come after the first answer; nobody asked for himself while another did.
    assert answers <= {1, 2}
    assert look.take() == len(asked)


def test_those_who_come_while_it_is_under_way_get_the_same_error() -> None:
    def ask() -> None:
        raise Unavailable("away", retry_after_s=1)

    look = Look(ask)
    for _ in range(2):
        with pytest.raises(Unavailable):
            look.take()


@pytest.mark.parametrize("look", [lambda: capacity.default().reserve(1), lambda: durability.default().ensure()])
def test_of_many_that_find_redis_frozen_none_waits_for_the_others(valkey: Valkey, look: Callable[[], None]) -> None:
    def wait() -> float:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            look()
        return time.monotonic() - began

    connection.default().ping()
    valkey.signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            longest = max(pool.map(lambda _: wait(), range(THREADS)))
    finally:
        valkey.signal(signal.SIGCONT)
    # One after the other it is THREADS times as long.
    assert longest < 5 * connection.TIMEOUT_S
