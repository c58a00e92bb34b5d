"""What an engine's answers to a probe mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.engine.probe import MISSES, Answer, Liveness, Probe
from tests.providers.wire import Line, Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as made:
        yield made


def probe_of(wire: Wire, timeout_s: float = 10) -> Probe:
    return Probe(wire.url.removesuffix("/v1"), served_name="m", timeout_s=timeout_s)


def saying(wire: Wire, status: int) -> None:
    def serve(line: Line) -> None:
        while line.request():
            line.send(f"HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n".encode())

    wire.handler = serve


@pytest.mark.parametrize(
    ("status", "answer"), [(200, Answer.GOOD), (503, Answer.GOOD), (500, Answer.BAD), (404, Answer.BAD)]
)
def test_an_answer_is_judged_by_its_status(wire: Wire, status: int, answer: Answer) -> None:
    """503 is a full queue, which is a sign of life: an engine that is only busy must not be restarted."""
    saying(wire, status)
    assert probe_of(wire).ask() is answer


def test_a_connection_that_breaks_off_is_a_bad_answer(wire: Wire) -> None:
    wire.handler = lambda line: None
    assert probe_of(wire).ask() is Answer.BAD


@pytest.mark.parametrize(("status", "lives"), [(503, True), (500, False)])
def test_an_engine_is_lost_after_so_many_bad_answers_and_never_for_a_full_queue(
    wire: Wire, status: int, lives: bool
) -> None:
    saying(wire, status)
    liveness = Liveness(probe_of(wire), heard_at=lambda: 0.0)
    assert [liveness.check() for _ in range(MISSES)] == [True] * (MISSES - 1) + [lives]
    assert MISSES > 1, "one answer that failed is no proof"
