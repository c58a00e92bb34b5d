"""The real server: what only a process, a socket or many clients at once can show."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.keyspace import IN_A_BODY, places_of
from tests.support.polling import until
from tests.support.valkey import Valkey, free_port
from tests.web import worker
from tests.web.gunicorn import Gunicorn


def test_it_refuses_to_serve_strangers_without_keys(environment: dict[str, str], log_file: Path) -> None:
    server = Gunicorn(environment, log_file, "--bind", "127.0.0.1:0", "--bind", f"[::]:{free_port()}")
    assert server.launch().wait(60) != 0
    said = log_file.read_text()
    assert "refusing to serve" in said and "TANDEM_API_KEYS" in said
    assert "Traceback" not in said and "Listening" not in said


def test_it_refuses_a_catalogue_in_one_sentence(environment: dict[str, str], log_file: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[[model]]\nid = "acme/own"\nabilities = ["sing"]')
    server = Gunicorn(environment | {"TANDEM_CATALOG": str(own)}, log_file)
    assert server.launch().wait(20) != 0
    assert "entry 1 ('acme/own'): abilities must be a list of some of chat" in log_file.read_text()
    assert "Traceback" not in log_file.read_text()


def test_it_refuses_an_open_host_by_environment(environment: dict[str, str], log_file: Path) -> None:
    server = Gunicorn(environment | {"TANDEM_HOST": "0.0.0.0"}, log_file)
    assert server.launch().wait(60) != 0
    assert "refusing to serve 0.0.0.0" in log_file.read_text()


def test_with_keys_it_may_serve_everybody(environment: dict[str, str], log_file: Path) -> None:
    server = Gunicorn(environment | {"TANDEM_API_KEYS": "ann:one", "TANDEM_HOST": "0.0.0.0"}, log_file).start()
    try:
        assert requests.get(f"{server.url}/jobs", timeout=5).status_code == 401
    finally:
        assert server.stop() == 0


def test_keys_that_cannot_be_read_are_one_sentence(environment: dict[str, str], log_file: Path) -> None:
    server = Gunicorn(environment | {"TANDEM_API_KEYS": "s3cret"}, log_file)
    assert server.launch().wait(60) != 0
    (line,) = log_file.read_text().splitlines()
    assert line.startswith("TANDEM_API_KEYS") and "s3cret" not in line


def test_fifty_at_once_with_one_key_make_one_job(gunicorn: Gunicorn, valkey: Valkey) -> None:
    def submit(_: int) -> requests.Response:
        headers = {"Idempotency-Key": "k"}
        return requests.post(f"{gunicorn.url}/jobs", json={"prompt": "hi"}, headers=headers, timeout=20)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(submit, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert valkey.client.llen("api.sandbox") == 1


def test_a_waiting_client_hears_of_the_end_at_once(gunicorn: Gunicorn) -> None:
    job_id = requests.post(f"{gunicorn.url}/jobs", json={"prompt": "hi"}, timeout=5).json()["id"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(requests.get, f"{gunicorn.url}/jobs/{job_id}", headers={"Prefer": "wait=30"}, timeout=30)
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        worker.complete(job_id)
        ended = time.monotonic()
        assert waiting.result(10).json()["status"] == "completed"
    assert time.monotonic() - ended < 3


def test_a_chunked_body_over_the_limit_is_413(gunicorn: Gunicorn, valkey: Valkey) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"prompt": "'
        yield from (b"x" * 10_000 for _ in range(20))

    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{gunicorn.url}/jobs", data=chunks(), headers=headers, timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/problem+json")
    assert valkey.client.llen("api.sandbox") == 0


def test_a_chunked_body_under_the_limit_is_read(gunicorn: Gunicorn) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{gunicorn.url}/jobs", data=iter([b'{"prompt":', b'"hi"}']), headers=headers, timeout=10)
    assert answer.status_code == 202


def test_a_request_id_is_taken_over_or_made(gunicorn: Gunicorn) -> None:
    def answered(headers: dict[str, str]) -> str:
        return requests.get(f"{gunicorn.url}/nowhere", headers=headers, timeout=5).headers["X-Request-ID"]

    assert answered({"X-Request-ID": "abc-1.2:3"}) == "abc-1.2:3"
    for given in ({}, {"X-Request-ID": "a b"}, {"X-Request-ID": "x" * 129}, {"X-Request-ID": '"><script>'}):
        assert re.fullmatch(r"req_[0-9a-f]{24}", answered(given))


def test_a_prompt_is_nowhere_but_in_the_record(gunicorn: Gunicorn, valkey: Valkey) -> None:
    canary = "canary-51b9"
    headers = {"X-Request-ID": "canary-request"}
    for body in ({"prompt": canary}, {"prompt": canary, "nope": canary}, {"model": canary, "prompt": canary}):
        requests.post(f"{gunicorn.url}/jobs", json=body, headers=headers, timeout=5)
    requests.post(f"{gunicorn.url}/jobs", data=f'{{"prompt": "{canary}', headers=headers, timeout=5)
    requests.get(f"{gunicorn.url}/jobs/{canary}?q={canary}", headers=headers, timeout=5)
    log = until(lambda: _lines_with(gunicorn.log, "canary-request", 5), within_s=5)
    assert canary not in gunicorn.log.read_text()
    assert {json.loads(line)["path"] for line in log} == {"/jobs", "/jobs/<job_id>"}
    (record,) = valkey.client.keys("tandem:job:*")
    assert places_of(IN_A_BODY, valkey.url) == {"api.sandbox"}, "its message is not there, or was not understood"
    assert places_of(canary, valkey.url) == {record}


def _lines_with(log: Path, word: str, count: int) -> list[str]:
    found = [line for line in log.read_text().splitlines() if word in line]
    return found if len(found) >= count else []


def test_a_stop_answers_those_who_wait(environment: dict[str, str], valkey: Valkey, log_file: Path) -> None:
    server = Gunicorn(environment, log_file).start()
    with ThreadPoolExecutor(1) as pool:
        body, headers = {"prompt": "hi"}, {"Prefer": "wait=60"}
        waiting = pool.submit(requests.post, f"{server.url}/jobs", json=body, headers=headers, timeout=30)
        until(lambda: valkey.client.llen("api.sandbox"), within_s=10)
        assert server.stop() == 0
        # Cut off it would be no answer at all; unasked it would come after a minute.
        assert waiting.result(5).status_code == 202


def test_more_waiters_than_seats_leave_room_for_others(gunicorn: Gunicorn) -> None:
    job_id = requests.post(f"{gunicorn.url}/jobs", json={"prompt": "hi"}, timeout=5).json()["id"]
    request = f"GET /jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=30\r\n\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", gunicorn.port), timeout=30) for _ in range(140)]
    for one in sockets:
        one.sendall(request)
    try:
        assert requests.get(f"{gunicorn.url}/healthz", timeout=5).ok
    finally:
        threading.Thread(target=worker.complete, args=(job_id,)).start()
        for one in sockets:
            assert one.recv(12) == b"HTTP/1.1 200"
            one.close()
