"""The ways to a Redis: over TLS, by a socket, for one user, and what each of its readers is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.exceptions import RedisError

from tasks.domain import redis_address
from tasks.domain.redis_address import RedisAddress, Tls
from tasks.store import connection
from tests.support.installation import given
from tests.support.sentinels import Sentinels
from tests.support.tls import Certificate, TlsFront
from tests.support.valkey import Valkey


def test_over_tls_both_sides_show_certificates(valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, client = (Certificate.make(tmp_path, name) for name in ("server", "client"))
    with TlsFront(valkey.port, server, client) as front:
        shown = {"TANDEM_REDIS_CERT": str(client.cert), "TANDEM_REDIS_KEY": str(client.key)}
        given(monkeypatch, REDIS_URL=f"rediss://127.0.0.1:{front.port}/0", TANDEM_REDIS_CA=str(server.cert), **shown)
        assert connection.default().ping()
        given(monkeypatch, TANDEM_REDIS_CA=str(client.cert))
        with pytest.raises(RedisError):  # another server than the one that is trusted
            connection.default().ping()
        given(monkeypatch, TANDEM_REDIS_CA=str(server.cert), TANDEM_REDIS_CERT="", TANDEM_REDIS_KEY="")
        with pytest.raises(RedisError):  # nobody that the server knows
            connection.default().ping()


def test_sentinels_are_asked_for_the_server_and_one_that_is_away_is_passed_over(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path / "valkey").start()
    with Sentinels(tmp_path, valkey) as watched:
        redis = connection.connect(watched.url)
        redis.set("a", 1)
        assert valkey.client.get("a") == "1"
    valkey.stop()


ADDRESSES = {
    "redis://localhost": RedisAddress(kind="tcp", hosts=(("localhost", 6379),)),
    "redis://:p%2F%40@[::1]:7000/15": RedisAddress(kind="tcp", hosts=(("::1", 7000),), db=15, password="p/@"),
    "rediss://ann:pw@redis.internal/1": RedisAddress(
        kind="tls", hosts=(("redis.internal", 6379),), db=1, username="ann", password="pw"
    ),
    "unix://ann:pw@/run/v.sock?db=2": RedisAddress(
        kind="unix", path="/run/v.sock", db=2, username="ann", password="pw"
    ),
    "redis+sentinel://:pw@one,two:7/main/3": RedisAddress(
        kind="sentinel", hosts=(("one", 26379), ("two", 7)), service="main", db=3, password="pw"
    ),
}  # fmt: skip
SPELLED = {
    "redis://localhost": ("redis://localhost:6379/0", "redis://localhost:6379/0"),
    "unix://ann:pw@/run/v.sock?db=2": (
        "redis+socket://ann:pw@/run/v.sock?virtual_host=2",
        "socket://ann:pw@/run/v.sock?virtual_host=2",
    ),
    "redis+sentinel://:pw@one,two:7/main/3": 2 * ("sentinel://:pw@one:26379/3;sentinel://:pw@two:7/3",),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_read(text: str) -> None:
    assert redis_address.parse(text) == ADDRESSES[text]


@pytest.mark.parametrize("text", SPELLED)
def test_an_address_is_spelled_as_celery_wants_it(text: str) -> None:
    address = redis_address.parse(text)
    assert (address.celery_url(), address.backend_url()) == SPELLED[text]


def test_a_certificate_is_always_asked_for_and_looked_at() -> None:
    assert Tls().options() == {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert Tls(ca="ca.pem").options()["ssl_ca_certs"] == "ca.pem"
