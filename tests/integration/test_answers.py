"""Answers that jobs share, through web, workers and a provider: how often the sandbox was really asked."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.images.pictures import asking, data_url, plain
from tests.images.servers import WebServer, page
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

ANN, BOB = ({"Authorization": f"Bearer key-of-{name}"} for name in ("ann", "bob"))
#: A call that takes this long lasts until something ends it.
HELD_MS = 60_000


@pytest.fixture(scope="module")
def far() -> Iterator[WebServer]:
    with WebServer().running() as server:
        yield server


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, far: WebServer) -> Iterator[Service]:
    env = {"TANDEM_API_KEYS": "ann:key-of-ann,bob:key-of-bob", "TANDEM_IMAGE_NETWORKS": "127.0.0.1/32"}
    env["TANDEM_IMAGE_PORTS"] = str(far.port)
    with Service(tmp_path_factory.mktemp("answers"), env=env) as service:
        service.http.headers.update(ANN)
        yield service


@pytest.fixture
def service(house: Service) -> Iterator[Service]:
    house.tell_sandbox(latency_ms=0)
    yield house
    house.http.delete(f"{house.sandbox_root}/control", timeout=5).raise_for_status()


@pytest.fixture
def text() -> str:
    """A prompt that nobody has asked before."""
    return f"prompt {secrets.token_hex(8)}"


def called_for(service: Service, ids: list[str]) -> list[str]:
    """Those of these jobs that the sandbox was called for, once for each call."""
    return [c["job_id"] for c in calls(service.sandbox_log) if c["event"] == "arrived" and c["job_id"] in ids]


def over(service: Service, ids: list[str], within_s: float = 20) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        jobs = [service.job(one) for one in ids]
        return jobs if all(job["finished_at"] for job in jobs) else []

    return until(found, within_s=within_s, every_s=0.1, what="all jobs being over")


def answered(service: Service, prompt: str | None, **body: Any) -> dict[str, Any]:
    """The job of this prompt, or with `prompt` None of this body, once it is over."""
    said = {"prompt": prompt, "temperature": 0, **body}
    said = {name: value for name, value in said.items() if value is not None}
    answer = service.http.post(f"{service.url}/jobs", json=said, timeout=20)
    assert answer.status_code == 202, answer.text
    return over(service, [answer.json()["id"]])[0]


def running(service: Service, prompt: str, count: int, **body: Any) -> tuple[str, list[str]]:
    """A leader that the sandbox has been called for, and so many that wait for it."""
    leader = service.submit(prompt, temperature=0, **body)
    until(lambda: called_for(service, [leader]), within_s=10, what="the leader's call")
    return leader, following(service, leader, prompt, count, **body)


def following(service: Service, leader: str, prompt: str, count: int, **body: Any) -> list[str]:
    """So many that wait for this leader."""
    followers = [service.submit(prompt, temperature=0, **body) for _ in range(count)]
    assert {service.job(one)["coalesced_with"] for one in followers} == {leader}
    return followers


def test_fifty_who_ask_the_same_at_once_cost_one_call(service: Service, text: str) -> None:
    service.tell_sandbox(latency_ms=300)
    with ThreadPoolExecutor(25) as pool:
        ids = list(pool.map(lambda _: service.submit(text, seed=7), range(50)))
    jobs = over(service, ids)
    assert len(set(ids)) == 50
    [leader] = called_for(service, ids)
    assert {job["status"] for job in jobs} == {"completed"}
    assert len({job["result"]["content"] for job in jobs}) == 1
    assert sum(job["usage"]["total_tokens"] for job in jobs) == service.job(leader)["usage"]["total_tokens"] > 0
    others = [job for job in jobs if job["id"] != leader]
    assert all(job["cached"] or job["coalesced_with"] == leader for job in others)
    assert {job["saved"]["total_tokens"] for job in others} == {service.job(leader)["usage"]["total_tokens"]}
    assert all(job["saved"]["seconds"] >= 0.3 and job["saved"]["provider"] == "sandbox" for job in others)


def test_a_cancelled_leader_is_followed_by_another(service: Service, text: str) -> None:
    service.tell_sandbox(latency_ms=HELD_MS)
    leader, followers = running(service, text, 5)
    service.tell_sandbox(latency_ms=0)
    assert service.http.post(f"{service.url}/jobs/{leader}/cancel", timeout=5).json()["status"] == "cancelled"
    jobs = over(service, followers)
    assert {job["status"] for job in jobs} == {"completed"}
    [first, second] = called_for(service, [leader, *followers])
    assert (first, second in followers) == (leader, True)
    assert {job["coalesced_with"] for job in jobs} == {None, second}


def test_when_the_leaders_worker_is_killed_its_followers_wait_on(service: Service, text: str) -> None:
    service.tell_sandbox(latency_ms=HELD_MS)
    leader, followers = running(service, text, 5)
    service.tell_sandbox(latency_ms=0)
    name = service.job(leader)["attempts"][0]["worker"]
    [worker] = [one for one in service.workers if one.log.stem == str(name).partition("@")[0]]
    worker.kill()
    jobs = over(service, [leader, *followers], within_s=40)
    assert {job["status"] for job in jobs} == {"completed"}
    assert called_for(service, [leader, *followers]) == [leader, leader]
    until(service.is_ready, within_s=30)


def test_twenty_who_ask_what_is_refused_cost_one_call(service: Service, text: str) -> None:
    failing: dict[str, Any] = {"model": "sandbox/status-400"}
    with service.upstream_held():
        leader = service.submit(text, temperature=0, **failing)
        followers = following(service, leader, text, 19, **failing)
    jobs = over(service, [leader, *followers])
    assert [job["error"] for job in jobs] == [jobs[0]["error"]] * 20
    assert jobs[0]["error"]["code"] == "bad_request"
    assert [len(job["attempts"]) for job in jobs] == [1] + [0] * 19
    assert called_for(service, [leader, *followers]) == [leader]


def test_when_the_leader_fails_for_another_reason_each_of_its_followers_is_asked_for(
    service: Service, text: str
) -> None:
    """What the provider says of the key may be another thing a moment later."""
    failing: dict[str, Any] = {"model": "sandbox/status-404"}
    with service.upstream_held():
        leader = service.submit(text, temperature=0, **failing)
        followers = following(service, leader, text, 9, **failing)
    jobs = over(service, [leader, *followers])
    assert [job["error"]["code"] for job in jobs] == ["model_not_found"] * 10
    assert sorted(called_for(service, [leader, *followers])) == sorted([leader, *followers])
    assert {job["coalesced_with"] for job in jobs} == {None}


def test_a_follower_has_its_own_deadline(service: Service, text: str) -> None:
    leader, [follower] = running(service, text, 1, model="sandbox/hang")
    short = service.submit(text, temperature=0, model="sandbox/hang", expires_in_s=1)
    assert service.job(short)["coalesced_with"] == leader
    until(lambda: service.job(short)["status"] == "expired", within_s=6)
    assert (service.job(leader)["status"], service.job(follower)["status"]) == ("processing", "pending")
    assert service.job(follower)["waiting_on"] == {"reason": "coalesced", "until": None}
    for one in (follower, leader):
        service.http.post(f"{service.url}/jobs/{one}/cancel", timeout=5)
    assert called_for(service, [leader, follower, short]) == [leader]


def test_another_owner_has_a_call_of_their_own(service: Service, text: str) -> None:
    mine = answered(service, text)
    answer = service.post(text, temperature=0, headers=BOB | {"Prefer": "wait=10"}).json()
    assert (answer["status"], answer["cached"], answer["coalesced_with"]) == ("completed", False, None)
    assert called_for(service, [mine["id"], answer["id"]]) == [mine["id"], answer["id"]]


def test_a_refresh_is_asked_anew_and_off_shares_nothing(service: Service, text: str) -> None:
    first = answered(service, text)
    jobs = [first, *(answered(service, text, cache=how) for how in ("refresh", "off", "use"))]
    assert [job["cached"] for job in jobs] == [False, False, False, True]
    assert len(called_for(service, [job["id"] for job in jobs])) == 3
    assert jobs[0]["saved"] is None


def test_an_image_is_the_same_wherever_it_comes_from(service: Service, far: WebServer, text: str) -> None:
    red, blue = plain((200, 10, 10)), plain((10, 10, 200))
    far.pages["/red.png"] = page(red)
    urls = [f"http://127.0.0.1:{far.port}/red.png", data_url(red), data_url(blue)]
    jobs = [answered(service, None, messages=asking(url, text=text), model="sandbox/echo") for url in urls]
    assert [job["cached"] for job in jobs] == [False, True, False]
    assert jobs[1]["images"] == jobs[0]["images"]
    assert jobs[1]["result"] == jobs[0]["result"] != jobs[2]["result"]


def test_embeddings_are_shared_unless_told_otherwise(service: Service, text: str) -> None:
    body = {"kind": "embedding", "model": "nvidia/nv-embedqa-e5-v5", "temperature": None}
    jobs = [
        answered(service, None, input=[text], **body, **more)
        for more in ({"input_type": "query"}, {"input_type": "query"}, {"input_type": "passage"})
    ]
    assert [(job["status"], job["cached"]) for job in jobs] == [("completed", n == 1) for n in range(3)]
    assert jobs[0]["result"] == jobs[1]["result"]


def test_what_was_saved_is_counted_apart_from_what_was_used(service: Service, text: str) -> None:
    body = {"model": "sandbox/tokens-7", "max_tokens": 100}
    for _ in range(3):
        answered(service, text, **body)
    lines = service.http.get(f"{service.url}/usage", timeout=5).json()["data"]
    [line] = [one for one in lines if one["model"] == "sandbox/tokens-7"]
    assert (line["requests"], line["completion_tokens"], line["cached_requests"]) == (1, 7, 2)
    assert line["saved_tokens"] == 2 * line["total_tokens"]


def test_a_chat_has_its_cached_answer_too(service: Service, text: str) -> None:
    first = answered(service, text)
    posted = service.http.post(f"{service.url}/chat", json={"message": text, "temperature": 0}, timeout=5).json()
    assert posted["status"] == "pending"
    status = service.http.get(f"{service.url}/chat/status/{posted['job_id']}", timeout=5).json()
    assert status["status"] == "completed"
    assert (status["result"]["response"], status["result"]["mode"]) == (first["result"]["content"], "api")
    assert 0 <= status["result"]["latency_ms"] < 1000
