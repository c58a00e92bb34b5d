"""`Prefer: wait` has a bounded number of seats, and each is free again when its wait is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from tasks import dispatch
from tasks.domain.errors import JobNotFound
from tasks.domain.job import Job
from tests.support.polling import until
from web import prefer
from web.auth import PUBLIC

#: What a wait is asked for here: far longer than a request takes that finds no seat.
WAIT_S = 1


@pytest.fixture
def one_seat(monkeypatch: pytest.MonkeyPatch) -> threading.BoundedSemaphore:
    seats = threading.BoundedSemaphore(1)
    monkeypatch.setattr(prefer, "_seats", seats)
    return seats


@pytest.fixture
def job(client: FlaskClient) -> Job:
    job_id = client.post("/jobs", json={"prompt": "hi"}).get_json()["id"]
    return dispatch.find(job_id, PUBLIC)


@pytest.fixture(autouse=True)
def _not_stopping() -> Iterator[None]:
    prefer._stopping.clear()
    yield
    prefer._stopping.clear()


def waited_s(job: Job, wanted_s: int = WAIT_S) -> float:
    begun = time.monotonic()
    prefer.wait(job, wanted_s)
    return time.monotonic() - begun


def test_a_seat_is_free_again_after_each_wait(job: Job, one_seat: threading.BoundedSemaphore) -> None:
    assert waited_s(job) >= WAIT_S
    assert waited_s(job) >= WAIT_S, "the first wait kept its seat"


def test_a_seat_is_free_again_after_a_wait_that_failed(job: Job, one_seat: threading.BoundedSemaphore) -> None:
    dispatch.erase(job.id, job.owner)
    with pytest.raises(JobNotFound):
        prefer.wait(job, WAIT_S)
    assert one_seat.acquire(blocking=False)


def test_who_finds_no_seat_is_answered_at_once(job: Job, one_seat: threading.BoundedSemaphore) -> None:
    waiting = threading.Thread(target=prefer.wait, args=(job, 60))
    waiting.start()
    try:
        until(lambda: one_seat._value == 0, within_s=10, what="the first one's seat")
        assert prefer.wait(job, 60) == (job, {})
    finally:
        prefer.stop()
        waiting.join(20)
    assert not waiting.is_alive(), "who waits is sent home when the process is to stop"


@pytest.mark.parametrize(
    ("said", "wanted_s"),
    [("wait=5", 5), ('wait="5"', 5), ("respond-async, wait=5", 5), ("wait=5; x=y", 5), ("wait=9999", prefer.LONGEST_S),
     ("wait=-1", 0), ("wait=1.5", 0), ("waiting=5", 0), ("", 0)],
)  # fmt: skip
def test_how_long_a_client_waits(said: str, wanted_s: int) -> None:
    assert prefer.wait_s(Headers({"Prefer": said})) == wanted_s
