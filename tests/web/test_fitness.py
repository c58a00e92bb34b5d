"""A Redis that cannot keep what is promised is noticed at once, and when it has become so since."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from tasks import preflight
from tasks.domain.errors import Unavailable
from tasks.settings import BadSettings
from tasks.store import connection, fitness
from tasks.store.fitness import Fit, judged
from tests.support.valkey import Valkey
from tests.web.conftest import MakeClient

WORDS: dict[str, dict[str, Any]] = {
    "maxmemory-policy volatile-lru": {"maxmemory_policy": "volatile-lru"},
    "no append-only file": {"aof_enabled": 0},
}


def test_an_old_one_cannot_be_used() -> None:
    found = judged({"redis_version": "6.2.14", "maxmemory_policy": "allkeys-lru", "aof_enabled": 0})
    assert "too old: version 7 or newer is needed, not 6.2.14" in found.fault
    assert judged({"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "aof_enabled": 1}) == fitness.Fitness()


@pytest.mark.parametrize("words", WORDS)
def test_what_may_lose_jobs_is_said(words: str) -> None:
    [warning] = judged({"redis_version": "7.0.15", **WORDS[words]}).warnings
    assert words in warning


@pytest.fixture
def evicting(valkey: Valkey) -> Iterator[Valkey]:
    valkey.client.config_set("maxmemory-policy", "volatile-lru")
    yield valkey
    valkey.client.config_set("maxmemory-policy", "noeviction")


def test_ready_says_what_may_lose_jobs(client: FlaskClient, evicting: Valkey) -> None:
    found = client.get("/readyz").get_json()
    assert any("volatile-lru" in warning for warning in found["warnings"])


def test_each_process_says_it_at_its_start(evicting: Valkey) -> None:
    with capture_logs() as said:
        preflight.check_redis()
    assert any(one["event"] == "redis.unfit" and "volatile-lru" in one["why"] for one in said)


def test_one_that_does_not_let_us_ask_is_said_and_used(valkey: Valkey) -> None:
    valkey.client.acl_setuser("shy", enabled=True, nopass=True, categories=["+@all"], commands=["-info"], keys=["*"])
    try:
        redis = connection.connect(valkey.url.replace("redis://", "redis://shy:x@"))
        assert "does not let us ask" in Fit(redis).look().warnings[0]
    finally:
        valkey.client.acl_deluser("shy")


def test_an_old_one_is_refused_at_the_start_and_by_each_post(
    make_client: MakeClient, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What INFO says of an older server, in place of what this one says.
    monkeypatch.setattr(fitness, "OLDEST", 8)
    with pytest.raises(BadSettings, match="too old"):
        preflight.check_redis()
    client = make_client()
    assert client.get("/readyz").status_code == 503
    answer = client.post("/jobs", json={"prompt": "hi"})
    assert (answer.status_code, "too old" in answer.get_json()["detail"]) == (503, True)
    assert client.post("/batches", json={"items": [{"prompt": "hi"}]}).status_code == 503
    assert valkey.client.keys("tandem:job:*") == []


def test_one_that_is_away_is_not_judged() -> None:
    with pytest.raises(Unavailable):
        Fit(connection.connect("redis://127.0.0.1:1/0")).look()
