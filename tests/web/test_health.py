"""`/healthz` and `/readyz`."""

from __future__ import annotations

import signal
import time
from typing import Any

from flask.testing import FlaskClient

from tasks.store import fleet
from tasks.store.fleet import Worker
from tests.support.valkey import Valkey, free_port
from tests.web.conftest import MakeClient


def test_the_process_lives_even_without_redis(make_client: MakeClient) -> None:
    client = make_client(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert client.get("/healthz").get_json() == {"status": "ok"}


def test_ready_without_any_worker(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json() == {
        "status": "ready", "redis": "ok", "workers": [], "providers": {"gpu": [], "api": []},
        "keys_refused": [], "warnings": answer.get_json()["warnings"],
    }  # fmt: skip
    assert "no append-only file" in answer.get_json()["warnings"][0], "the tests' Valkey has none"


def test_ready_while_an_engine_loads(client: FlaskClient) -> None:
    fleet.default().hello(Worker(name="g1", queues="gpu,gpu.x", state="loading", model="m", device="cpu", ready_in_s=9))
    found = client.get("/readyz").get_json()
    (worker,) = found["workers"]
    expected = {"name": "g1", "queues": ["gpu", "gpu.x"], "state": "loading", "model": "m", "ready_in_s": 9.0}
    assert expected.items() <= worker.items()
    assert found["providers"]["gpu"] == ["vllm"]


def test_providers_are_those_that_workers_say_they_have(client: FlaskClient) -> None:
    """Whatever this process is configured for: nobody has to be there who serves it."""
    for name in ("a1", "a2"):
        fleet.default().hello(Worker(name=name, queues="api,api.openrouter", providers="nim,openrouter", state="ready"))
    fleet.default().hello(Worker(name="a3", queues="", providers="", state="ready"))
    found = client.get("/readyz").get_json()
    assert found["providers"] == {"gpu": [], "api": ["nim", "openrouter"]}
    assert [one["providers"] for one in found["workers"] if one["name"] == "a1"] == [["nim", "openrouter"]]
    assert [one["queues"] for one in found["workers"] if one["name"] == "a3"] == [[]]


def test_redis_away_is_503_and_soon(make_client: MakeClient) -> None:
    client = make_client(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert_unavailable_soon(client)


def test_redis_frozen_is_503_and_soon(client: FlaskClient, valkey: Valkey) -> None:
    valkey.signal(signal.SIGSTOP)
    try:
        assert_unavailable_soon(client)
    finally:
        valkey.signal(signal.SIGCONT)


def assert_unavailable_soon(client: FlaskClient) -> None:
    began = time.monotonic()
    answer = client.get("/readyz")
    assert time.monotonic() - began < 5
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert "Redis" in answer.get_json()["detail"]
    assert int(answer.headers["Retry-After"]) >= 1


def test_redis_away_refuses_jobs_with_503(make_client: MakeClient) -> None:
    client = make_client(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert client.post("/jobs", json={"prompt": "hi"}).status_code == 503


def test_a_redis_that_takes_no_writes_is_503(client: FlaskClient, valkey: Valkey) -> None:
    valkey.client.config_set("min-replicas-to-write", 1)
    try:
        assert_unavailable_soon(client)
        assert client.post("/jobs", json={"prompt": "hi"}).status_code == 503
    finally:
        valkey.client.config_set("min-replicas-to-write", 0)
    assert client.get("/readyz").status_code == 200


def test_a_full_redis_is_503_and_who_is_there_is_told_all_the_same(client: FlaskClient, valkey: Valkey) -> None:
    fleet.default().hello(Worker(name="a1", queues="api", providers="nim", state="ready"))
    before = client.get("/readyz").get_json()
    valkey.client.setrange("filled", 20_000_000, "x")
    valkey.client.script_flush()
    valkey.client.config_set("maxmemory", int(valkey.client.info("memory")["used_memory"] / 1.1))
    try:
        assert_unavailable_and_told(client, before)
    finally:
        valkey.client.config_set("maxmemory", 0)


def test_a_redis_that_takes_no_writes_is_503_and_who_is_there_is_told_all_the_same(
    client: FlaskClient, valkey: Valkey
) -> None:
    fleet.default().hello(Worker(name="a1", queues="api", providers="nim", state="ready"))
    before = client.get("/readyz").get_json()
    valkey.client.config_set("min-replicas-to-write", 1)
    try:
        assert_unavailable_and_told(client, before)
    finally:
        valkey.client.config_set("min-replicas-to-write", 0)


def assert_unavailable_and_told(client: FlaskClient, before: dict[str, Any]) -> None:
    assert_unavailable_soon(client)
    found = client.get("/readyz").get_json()
    assert found["redis"] == found["detail"]
    assert found["providers"] == {"gpu": [], "api": ["nim"]}
    for name in ("workers", "providers", "keys_refused", "warnings"):
        assert found[name] == before[name], name
