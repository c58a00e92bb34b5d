"""Clients that send slowly, or nothing, or what is no request: they hold no thread, and others notice nothing."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack

import pytest
import requests

from tests.support.polling import until
from tests.support.valkey import Valkey
from tests.web.gunicorn import Gunicorn

POST = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = POST + b"Content-Length: 90000\r\n\r\n" + b'{"prompt": "' + b"x" * 70_000
BODY = b'{"prompt": "hi"}'
#: What is sent of a request, and how many clients send so much: more than there are threads, of each kind.
HALVES = {
    b"": 140,
    b"POST /jo": 140,
    POST: 140,
    POST + b"Content-Length: 16\r\n\r\n" + BODY[:8]: 140,
    CHUNKED + b"10\r\n" + BODY[:8]: 140,
    LARGE: 140,
    # A whole request, and half of the next one behind it.
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea": 140,
}


def connect(gunicorn: Gunicorn, sent: bytes = b"") -> socket.socket:
    there = socket.create_connection(("127.0.0.1", gunicorn.port), timeout=30)
    there.sendall(sent)
    return there


def answer(there: socket.socket) -> tuple[int, dict[str, object]]:
    """The status and the JSON of the last answer before the end of the connection. It has an id, whatever it is."""
    said = b"".join(iter(lambda: there.recv(65536), b""))
    head, _, body = said.partition(b"\r\n\r\n")
    status, found = int(head.split()[1]), json.loads(body)
    [request_id] = re.findall(rb"(?m)^X-Request-ID: (\S+)\r?$", head)
    assert status < 400 or found["request_id"] == request_id.decode()
    return status, found


@pytest.mark.parametrize("half", HALVES)
def test_more_half_requests_than_threads_hold_nobody_up(gunicorn: Gunicorn, half: bytes) -> None:
    with ExitStack() as open_ones:
        clients = [open_ones.enter_context(connect(gunicorn, half)) for _ in range(HALVES[half])]
        for _ in range(3):
            assert requests.get(f"{gunicorn.url}/healthz", timeout=5).ok
            for one in clients:
                one.sendall(b"x" * (half != b""))
        assert requests.post(f"{gunicorn.url}/jobs", json={"prompt": "hi"}, timeout=5).status_code == 202


@pytest.mark.parametrize("cut", [1, 20, len(POST) + 5, -3])
def test_a_request_in_two_pieces_is_one(gunicorn: Gunicorn, cut: int) -> None:
    whole = POST + b"Connection: close\r\nContent-Length: 16\r\n\r\n" + BODY
    with connect(gunicorn, whole[:cut]) as there:
        time.sleep(0.05)  # else both may come at once
        there.sendall(whole[cut:])
        assert answer(there)[0] == 202


def test_requests_that_come_together_are_answered_one_after_the_other(gunicorn: Gunicorn) -> None:
    one, last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"Connection: close\r\n"
    with connect(gunicorn, (one + b"\r\n") * 3 + one + last + b"\r\n") as there:
        said = b"".join(iter(lambda: there.recv(65536), b""))
    assert said.count(b"HTTP/1.1 200 OK") == 4


def test_a_large_body_and_one_that_asks_first_are_read(gunicorn: Gunicorn) -> None:
    text = b'{"prompt": "' + b"x" * 90_000 + b'"}'
    headers = {"Content-Type": "application/json"}
    for _ in range(40):  # more than may read at a time: each leaves its place
        assert requests.post(f"{gunicorn.url}/jobs", data=text, headers=headers, timeout=10).status_code == 202
    head = POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\n"
    with connect(gunicorn, head) as there:
        assert there.recv(100).startswith(b"HTTP/1.1 100 ")
        there.sendall(BODY)
        assert answer(there)[0] == 202


UNREADABLE = {
    "a line too long": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    "a line without end": (b"GET /" + b"a" * 5000, 414),
    "headers without end": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 12_000, 431),
    "too many headers": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    "no request": (b"canary-17\r\n\r\n", 400),
    "a broken chunk size": (CHUNKED + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    "a chunk without its end": (CHUNKED + b"10\r\n" + BODY + b"x0\r\n\r\n", 400),
    "another coding": (POST + b"Transfer-Encoding: canary-17\r\n\r\n", 501),
    "another expectation": (POST + b"Expect: canary-17\r\nContent-Length: 16\r\n\r\n" + BODY, 417),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_is_no_request_is_a_problem_document(gunicorn: Gunicorn, valkey: Valkey, what: str) -> None:
    sent, status = UNREADABLE[what]
    with connect(gunicorn, sent) as there:
        there.shutdown(socket.SHUT_WR)
        said, problem = answer(there)
    assert (said, problem["status"]) == (status, status)
    assert "canary" not in str(problem) and problem["detail"]
    until(lambda: str(problem["request_id"]) in gunicorn.log.read_text(), within_s=10, what="its line in the log")
    assert valkey.client.keys("tandem:job:*") == []


@pytest.mark.chaos  # it takes as long as headers may
def test_headers_that_do_not_come_are_a_408(gunicorn: Gunicorn) -> None:
    with connect(gunicorn, POST) as there:
        assert answer(there)[0] == 408


@pytest.mark.chaos  # it takes as long as a body may at least
def test_a_large_body_that_stops_coming_is_a_408(gunicorn: Gunicorn, valkey: Valkey) -> None:
    with connect(gunicorn, LARGE) as there:
        assert answer(there)[0] == 408
    until(lambda: requests.get(f"{gunicorn.url}/healthz", timeout=5).ok, within_s=5)
    assert valkey.client.keys("tandem:job:*") == []
