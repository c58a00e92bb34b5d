"""How far a request has come, whatever pieces it comes in; and how long it may take."""

from __future__ import annotations

import socket
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import RequestTimeout

from web.reception import BODY_S, BYTES_PER_S, HEAD_S, KEPT_BYTES, Incoming, Pace, PacedUnreader, Stage

HEAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\n"
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\nHost: localhost\n\n",
    HEAD + b"content-LENGTH : 5\r\n\r\nabcde",
    HEAD + b"Content-Length: 0\r\n\r\n",
]


def taken(data: bytes, at: float = 0.0) -> Incoming:
    incoming = Incoming(idle_until=75)
    incoming.take(data, at)
    return incoming


@given(whole=st.sampled_from(REQUESTS), cuts=st.lists(st.integers(1, 80), max_size=5))
def test_it_is_whole_with_its_last_byte_and_not_before(whole: bytes, cuts: list[int]) -> None:
    incoming = Incoming(idle_until=75)
    places = sorted({0, len(whole) - 1, *(cut for cut in cuts if cut < len(whole))})
    for begin, end in pairwise(places):
        assert incoming.take(whole[begin:end], 0.0) is Stage.COMING
    assert incoming.take(whole[-1:], 0.0) is Stage.WHOLE
    assert bytes(incoming.data) == whole


def test_what_a_thread_has_to_read_is_large() -> None:
    announced = HEAD + b"Content-Length: 200000\r\n\r\n"
    assert taken(announced + b"x" * (KEPT_BYTES - 1)).stage is Stage.COMING
    large = taken(announced + b"x" * KEPT_BYTES)
    assert (large.stage, large.missing) == (Stage.LARGE, 200_000 - KEPT_BYTES)
    assert taken(HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n").stage is Stage.LARGE
    chunked = taken(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    assert (chunked.stage, chunked.missing) == (Stage.COMING, None)
    assert chunked.take(b"2\r\nab\r\n0\r\n", 0.0) is Stage.COMING
    assert chunked.take(b"\r\n", 0.0) is Stage.LARGE


def test_headers_without_end_are_given_up() -> None:
    assert taken(HEAD + b"A: b\r\n" * KEPT_BYTES).stage is Stage.ENDLESS
    assert taken(b"GET /" + b"a" * 5000).stage is Stage.WHOLE  # for the parser to refuse


def test_blank_lines_before_a_request_are_no_request() -> None:
    incoming = taken(b"\r\n\r\n")
    assert (incoming.stage, incoming.is_idle, incoming.deadline) == (Stage.COMING, True, 75)


def test_headers_have_their_time_from_the_first_byte_on_and_gain_none() -> None:
    incoming = taken(b"P", at=50.0)
    assert incoming.deadline == 50 + HEAD_S
    incoming.take(b"O", 59.0)
    assert incoming.deadline == 50 + HEAD_S


def test_a_body_gains_time_by_what_has_come() -> None:
    incoming = taken(HEAD + b"Content-Length: 60000\r\n\r\n", at=9.0)
    assert incoming.deadline == 9 + BODY_S
    incoming.take(b"x" * BYTES_PER_S * 3, 15.0)
    assert incoming.deadline == 9 + BODY_S + 3


def test_only_waiting_for_the_client_counts_against_a_body_that_a_thread_reads() -> None:
    pace = Pace()
    pace.count(BYTES_PER_S * 2, waited_s=5)
    assert pace.left_s == BODY_S + 2 - 5


def test_who_is_too_slow_is_told_so_where_the_application_reads() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        unreader = PacedUnreader(ours)
        unreader.expect(b"here ", 100, lambda: None)
        unreader._pace.count(0, waited_s=BODY_S)
        assert unreader.read(5) == b"here "
        with pytest.raises(RequestTimeout):
            unreader.read(1)
