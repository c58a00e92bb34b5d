"""One REDIS_URL for a Redis that is elsewhere: over TLS, by a socket, behind sentinels, for a user of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from redis import Redis

from tests.support.polling import until
from tests.support.sentinels import Sentinels
from tests.support.service import Service
from tests.support.tls import Certificate, TlsFront
from tests.support.valkey import free_port

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

#: What an operator may give a user of its own: no settings, no other database's keys, nothing that stops the server.
USER = ["--user", "tandem", "on", ">pass/w:rd@", "~*", "&*", "+@all", "-@dangerous", "+info"]
LOGIN = "tandem:pass%2Fw%3Ard%40@"


def works(service: Service) -> None:
    """A job, a cancel that reaches a call, and a batch, whose shards are a chord."""
    answer = service.post("hello", headers={"Prefer": "wait=10"}, timeout=30)
    assert answer.json()["status"] == "completed", answer.text
    running = service.submit("never", model="sandbox/hang")
    until(lambda: service.job(running)["status"] == "processing", within_s=20)
    service.http.post(f"{service.url}/jobs/{running}/cancel", timeout=10).raise_for_status()
    items = [{"custom_id": f"c{n}", "prompt": "hi"} for n in range(20)]
    batch = service.http.post(f"{service.url}/batches", json={"items": items}, timeout=20).json()
    where = f"{service.url}/batches/{batch['id']}"
    until(lambda: service.http.get(where, timeout=10).json()["status"] == "completed", within_s=30)


@contextmanager
def flower(service: Service) -> Iterator[str]:
    """Flower, as the launcher starts it: its address."""
    port = free_port()
    process = service.run("flower", "-m", "celery", "-A", "tasks", "flower", "--address=127.0.0.1", f"--port={port}")
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _status(f"{url}/healthcheck") == 200, within_s=40, what="Flower")
        yield url
    finally:
        process.end()


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=10).status_code
    except requests.RequestException:
        return 0


def test_over_tls_with_a_clients_certificate_as_a_user_in_a_database_of_its_own(tmp_path: Path) -> None:
    server, client = (Certificate.make(tmp_path, name) for name in ("server", "client"))
    service = Service(tmp_path, workers=1, valkey_options=USER)
    with TlsFront(service.valkey.port, server, client) as front:
        service.env |= {
            "REDIS_URL": f"rediss://{LOGIN}127.0.0.1:{front.port}/3",
            "TANDEM_REDIS_CA": str(server.cert),
            "TANDEM_REDIS_CERT": str(client.cert),
            "TANDEM_REDIS_KEY": str(client.key),
        }
        service.valkey.client = Redis.from_url(f"{service.valkey.url[:-1]}3", decode_responses=True, socket_timeout=5)
        with service:
            works(service)
            assert Redis(port=service.valkey.port).dbsize() == 0, "some of it went to another database"
            with flower(service) as url:
                assert _status(f"{url}/broker") == 200


def test_by_a_socket(tmp_path: Path) -> None:
    socket = tmp_path / "v.sock"
    service = Service(tmp_path, workers=1, valkey_options=[*USER, "--unixsocket", str(socket)])
    service.env["REDIS_URL"] = f"unix://{LOGIN}{socket}?db=3"
    service.valkey.client = Redis.from_url(f"{service.valkey.url[:-1]}3", decode_responses=True, socket_timeout=5)
    with service:
        works(service)
        assert Redis(port=service.valkey.port).dbsize() == 0, "some of it went to another database"


def test_a_replica_that_sentinels_promote_is_gone_on_with(tmp_path: Path) -> None:
    service = Service(tmp_path, workers=1)
    service.valkey.start()
    with Sentinels(tmp_path, service.valkey) as watched:
        service.env["REDIS_URL"] = watched.url
        with service:
            works(service)
            held = [service.submit("x", model="sandbox/slow-3000ms") for _ in range(20)]
            until(lambda: any(service.job(one)["status"] == "processing" for one in held), within_s=20)
            # What the replica has not heard of is lost with the master: that is Redis' promise, not ours.
            assert service.valkey.client.wait(1, 5000) == 1
            service.valkey.kill()
            died_at = time.monotonic()
            until(lambda: watched.master() == watched.replica.port, within_s=30, what="the failover")
            until(lambda: service.post("after", timeout=20).status_code == 202, within_s=30)
            for one in held:
                until(lambda one=one: service.job(one)["status"] == "completed", within_s=40)  # type: ignore[misc]
            print(f"all ended {time.monotonic() - died_at:.1f} s after the death")
            service.valkey.client = watched.replica.client
            works(service)
