"""How much of a worker batches may take."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from tasks.process import WorkerProcess

CAPACITY = 20


def worker() -> WorkerProcess:
    return WorkerProcess(name="w", servings=(), isolation_slots=1, capacity=CAPACITY)


def always() -> bool:
    return True


def test_places_count_from_when_they_are_taken_not_from_when_an_item_runs() -> None:
    room = worker().batch_room
    assert room.enter(always, 16) == 16
    assert room.enter(always, 16) == CAPACITY - 16
    over = threading.Event()
    threading.Timer(0.2, over.set).start()
    assert room.enter(lambda: not over.is_set(), 16) == 0, "more than the worker has"


def test_single_jobs_come_first_and_leave_a_floor() -> None:
    here = worker()
    with ExitStack() as singles:
        for _ in range(CAPACITY - 5):
            singles.enter_context(here.in_flight.looking(single=True))
        assert here.batch_room.enter(always, 16) == 5
        here.batch_room.leave(5)
        for _ in range(5):
            singles.enter_context(here.in_flight.looking(single=True))
        assert here.batch_room.enter(always, 16) == CAPACITY // 10


def test_a_place_that_comes_free_is_taken_at_once() -> None:
    room = worker().batch_room
    assert room.enter(always, CAPACITY) == CAPACITY
    threading.Timer(0.2, room.leave, [3]).start()
    assert room.enter(always, 16) == 3
