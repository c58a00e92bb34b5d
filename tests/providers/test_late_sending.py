"""A call counts in its provider's limits when it is sent: one that is late asks before it writes a byte."""

from __future__ import annotations

import time

import pytest

from tasks.domain.errors import CallCut
from tasks.providers.base import NO_ROOM, Call
from tasks.providers.sandbox.thread import SandboxThread
from tests.providers.clients import a_call, chat, nim


class Desk:
    """Where a call asks for room; `room` is what it is told."""

    def __init__(self, *, room: bool = True) -> None:
        self.room = room
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.room


def late(desk: Desk, *, by_s: float = 60.0) -> Call:
    """A call that was counted so long ago, and may be a second late."""
    call = a_call()
    call.book_sending, call.counted_at, call.late_after_s = desk, time.monotonic() - by_s, 1.0
    return call


def test_a_late_call_asks_once_before_it_is_sent(sandbox: SandboxThread) -> None:
    desk = Desk()
    assert chat(nim(sandbox.url), "echo", late(desk)).result.content
    assert desk.asked == 1


def test_a_call_in_time_does_not_ask(sandbox: SandboxThread) -> None:
    desk = Desk()
    assert chat(nim(sandbox.url), "echo", late(desk, by_s=0.0)).result.content
    assert desk.asked == 0


def test_asking_for_a_queued_answer_is_no_further_request(sandbox: SandboxThread) -> None:
    desk = Desk()
    assert chat(nim(sandbox.url), "nvcf-202+slow-300ms", late(desk)).result.content
    assert desk.asked == 1


@pytest.mark.parametrize("reused", [False, True])
def test_a_late_call_without_room_is_not_sent(sandbox: SandboxThread, reused: bool) -> None:
    client = nim(sandbox.url)
    if reused:
        chat(client, "echo")
    before = sandbox.state.counts()["calls"]
    call = late(Desk(room=False))
    with pytest.raises(CallCut) as caught:
        chat(client, "echo", call)
    assert (caught.value.why, call.sends) == (NO_ROOM, 0)
    assert sandbox.state.counts()["calls"] == before
    assert chat(client, "echo").result.content, "the next call is served as ever"
