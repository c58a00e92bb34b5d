"""What the sandbox is told, and what it tells."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tasks.domain.provider_errors import ConnectionLost, ProviderError, ProviderOverloaded, RateLimited
from tasks.domain.request import ChatRequest, Message
from tasks.providers.base import Call, Provider
from tasks.providers.sandbox.thread import SandboxThread
from tests.providers.clients import MAKERS, a_call, chat
from tests.support.polling import until

WINDOW_S = 0.6
#: How far the log's own times may be from those the limit was judged by: a body is read in between.
SLACK_S = 0.05


@pytest.fixture
def client(sandbox: SandboxThread) -> Provider:
    return MAKERS["sandbox"](sandbox.url)


def tell(sandbox: SandboxThread, dialect: str = "", **said: Any) -> None:
    url = f"{sandbox.url}/control/{dialect}".rstrip("/")
    requests.put(url, json=said, timeout=5).raise_for_status()


def test_only_who_shows_its_key_controls_it(sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_CONTROL_KEY", "of-this-run")
    for method, path in (("PUT", ""), ("PUT", "/nim"), ("DELETE", ""), ("GET", "/counts"), ("GET", "/calls")):
        url = f"{sandbox.url}/control{path}"
        for said, status in (
            ({}, 401),
            ({"Authorization": "Bearer x"}, 401),
            ({"Authorization": "Bearer of-this-run"}, 200),
        ):
            assert requests.request(method, url, json={}, headers=said, timeout=5).status_code == status
    assert requests.get(f"{sandbox.url}/vllm/health", timeout=5).ok
    monkeypatch.delenv("SANDBOX_CONTROL_KEY")  # the fixture resets it


def outcomes(client: Provider, count: int, words: str = "echo") -> list[type[ProviderError] | None]:
    """What so many calls, one after the other, came to."""
    seen: list[type[ProviderError] | None] = []
    for _ in range(count):
        try:
            chat(client, words)
            seen.append(None)
        except ProviderError as error:
            seen.append(type(error))
    return seen


def test_requests_beyond_the_limit_are_refused_and_counted(sandbox: SandboxThread, client: Provider) -> None:
    tell(sandbox, rpm=3)
    assert outcomes(client, 5) == [None, None, None, RateLimited, RateLimited]
    counts = sandbox.state.counts()
    assert (counts["violations"], counts["answered"]) == (2, 3)
    assert counts["window_peaks"]["sandbox"]["requests"] == 3


def test_each_dialect_has_limits_of_its_own(sandbox: SandboxThread) -> None:
    tell(sandbox, rpm=1)
    for name in MAKERS:
        assert outcomes(MAKERS[name](sandbox.url), 2) == [None, RateLimited]
    tell(sandbox, "nim", rpm=2)
    assert outcomes(MAKERS["nim"](sandbox.url), 3) == [None, None, RateLimited]
    assert outcomes(MAKERS["vllm"](sandbox.url), 1) == [RateLimited]


def test_the_request_window_slides(sandbox: SandboxThread, client: Provider) -> None:
    """Hammered for some windows, the log itself shows a limit kept and used to the full."""
    tell(sandbox, rpm=5, window_s=WINDOW_S)
    ends_at = time.monotonic() + 3 * WINDOW_S
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: hammer(client, ends_at), range(2)))
    entries = sandbox.state.calls.entries
    let_through = [e.started_s for e in entries if not e.limited]
    assert len(let_through) >= 15
    for n, at in enumerate(let_through[5:]):
        assert at - let_through[n] > WINDOW_S - SLACK_S
    for at in (e.started_s for e in entries if e.limited):
        assert sum(at - WINDOW_S - SLACK_S < t <= at + SLACK_S for t in let_through) >= 5


def hammer(client: Provider, ends_at: float) -> None:
    while time.monotonic() < ends_at:
        outcomes(client, 1)
        time.sleep(0.002)


def test_tokens_count_when_they_are_answered(sandbox: SandboxThread, client: Provider) -> None:
    """An echo of the two words takes six tokens: while it runs, its answer's four are not yet known."""
    tell(sandbox, tpm=8)
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(chat, client, "slow-200ms") for _ in range(2)]
        assert all(one.result(5).result.content for one in slow)
    assert outcomes(client, 1) == [RateLimited]
    assert sandbox.state.counts()["window_peaks"]["sandbox"]["tokens"] == 12


def test_a_token_window_empties(sandbox: SandboxThread, client: Provider) -> None:
    tell(sandbox, tpm=7, window_s=WINDOW_S)
    assert outcomes(client, 2) == [None, RateLimited]
    until(lambda: outcomes(client, 1) == [None], within_s=3 * WINDOW_S)


def test_a_limit_tells_when_it_ends(sandbox: SandboxThread, client: Provider) -> None:
    tell(sandbox, rpm=1, window_s=30)
    chat(client, "echo")
    with pytest.raises(RateLimited) as raised:
        chat(client, "echo")
    assert raised.value.retry_after_s == 30


def test_a_failure_for_so_many_calls(sandbox: SandboxThread, client: Provider) -> None:
    tell(sandbox, fail={"status": 503, "retry_after_s": 7, "times": 2})
    assert outcomes(client, 3) == [ProviderOverloaded, ProviderOverloaded, None]
    assert sandbox.state.counts()["violations"] == 0


def test_a_failure_for_a_part_of_the_calls(sandbox: SandboxThread, client: Provider) -> None:
    tell(sandbox, fail={"words": "cut", "share": 0.5})
    assert outcomes(client, 4) == [None, ConnectionLost, None, ConnectionLost]


def test_a_failure_for_some_time(sandbox: SandboxThread, client: Provider) -> None:
    tell(sandbox, fail={"status": 500, "for_s": 0.2})
    assert outcomes(client, 1) == [ProviderOverloaded]
    until(lambda: outcomes(client, 1) == [None], within_s=5)


def test_a_failure_for_each_jobs_first_attempts(client: Provider) -> None:
    for job in ("job_a", "job_b"):
        for attempt, expected in ((1, ProviderOverloaded), (2, ProviderOverloaded), (3, None)):
            call = Call(request_id=f"{job}.{attempt}", timeout_s=5)
            try:
                chat(client, "status-503+times-2", call)
                assert expected is None
            except ProviderOverloaded:
                assert expected is ProviderOverloaded


def test_latency_and_length_can_be_set(sandbox: SandboxThread, client: Provider) -> None:
    tell(sandbox, latency_ms=150, tokens=40)
    started = time.monotonic()
    done = chat(client, "slow-100ms")
    assert time.monotonic() - started >= 0.25
    assert done.usage is not None
    assert done.usage.completion_tokens == 40


@pytest.mark.parametrize(
    "said", [{"rmp": 3}, {"rpm": "many"}, {"fail": {}}, {"fail": {"status": 200}}, {"fail": {"words": "explode"}}]
)
def test_a_setting_that_makes_no_sense_is_refused(sandbox: SandboxThread, said: dict[str, Any]) -> None:
    answer = requests.put(f"{sandbox.url}/control", json=said, timeout=5)
    assert answer.status_code == 400


def test_the_calls_can_be_asked_for_in_pieces(sandbox: SandboxThread, client: Provider) -> None:
    outcomes(client, 3)
    first = requests.get(f"{sandbox.url}/control/calls?since=1", timeout=5).json()
    assert [call["seq"] for call in first["calls"]] == [2, 3]
    chat(client, "status-503+times-0", Call(request_id="job_x.7", timeout_s=5))
    (last,) = requests.get(f"{sandbox.url}/control/calls?since={first['next']}", timeout=5).json()["calls"]
    assert (last["job_id"], last["attempt"], last["outcome"], last["status"]) == ("job_x", 7, "answered", 200)
    assert last["started_s"] <= last["ended_s"]


def test_the_same_conversation_has_the_same_answer_and_another_one_another(client: Provider) -> None:
    def answer(text: str) -> str | None:
        request = ChatRequest(messages=(Message(role="user", content=text),))
        return chat(client, "echo", a_call(), request).result.content

    assert answer("one") == answer("one")
    long = "the same thirteen words at the start and then another one at the end: "
    assert answer(long + "this") != answer(long + "that")
