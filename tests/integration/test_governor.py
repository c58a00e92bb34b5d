"""The governor against a sandbox whose limits are exact, with four worker processes competing for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images.pictures import asking, data_url, noise
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

#: A minute, scaled: the same setting of limiter and sandbox.
WINDOW_S, WINDOWS = 6.0, 5
RPM, TPM = 10, 1000

pytestmark = pytest.mark.timeout(180)


def limited(data: Path, **env: str) -> Service:
    limits = {"TANDEM_SANDBOX_RPM": str(RPM), "TANDEM_SANDBOX_TPM": str(TPM)}
    own = {"TANDEM_LIMIT_WINDOW_S": str(WINDOW_S), **limits, **env}
    return Service(data, workers=4, concurrency=8, env=own)


def started(service: Service) -> list[dict[str, Any]]:
    return [entry for entry in calls(service.sandbox_log) if entry["event"] == "arrived"]


def counts(service: Service) -> dict[str, Any]:
    return dict(service.http.get(f"{service.sandbox_root}/control/counts", timeout=5).json())


def use(service: Service, submit: Callable[[int], str], *, jobs: int) -> tuple[int, dict[str, Any]]:
    """Submit more than there is room for; the requests made within five windows of the first, and all counts."""
    service.tell_sandbox(rpm=RPM, tpm=TPM, window_s=WINDOW_S, latency_ms=50)
    for number in range(jobs):
        submit(number)
    first_s = until(lambda: started(service), within_s=10)[0]["started_at"]
    over_at = first_s + WINDOWS * WINDOW_S
    until(lambda: time.time() > over_at, within_s=WINDOWS * WINDOW_S + 1, every_s=0.1)
    return sum(entry["started_at"] < over_at for entry in started(service)), counts(service)


@pytest.mark.chaos
def test_four_workers_use_ten_requests_a_minute_and_not_one_more(tmp_path: Path) -> None:
    with limited(tmp_path) as service:
        used, seen = use(service, lambda n: service.submit(f"job {n}", max_tokens=40), jobs=80)
        print(f"used={used} of {RPM * WINDOWS} violations={seen['violations']} peaks={seen['window_peaks']['sandbox']}")
        assert seen["violations"] == 0
        assert seen["window_peaks"]["sandbox"]["requests"] <= RPM
        assert used >= 0.97 * RPM * WINDOWS


@pytest.mark.chaos
def test_four_workers_use_a_thousand_tokens_a_minute_and_not_one_more(tmp_path: Path) -> None:
    """Each job takes 120 words and an answer of 130: four fit into a minute."""
    prompt, model = "word " * 120, "sandbox/tokens-130"
    with limited(tmp_path) as service:
        used, seen = use(service, lambda _: service.submit(prompt, max_tokens=130, model=model), jobs=30)
        print(f"used={used} of {4 * WINDOWS} violations={seen['violations']} peaks={seen['window_peaks']['sandbox']}")
        assert seen["violations"] == 0
        assert seen["window_peaks"]["sandbox"]["tokens"] <= TPM
        assert used >= 0.97 * 4 * WINDOWS


def look_at(service: Service, url: str) -> str:
    body = {"messages": asking(url), "model": "sandbox/echo"}
    answer = service.http.post(f"{service.url}/jobs", json=body, timeout=20)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_calls_whose_images_are_fitted_after_the_claim_exceed_no_limit(tmp_path: Path) -> None:
    """One image is fitted at a time, so the last of the first calls is sent long after it was claimed."""
    env = {"TANDEM_LIMIT_WINDOW_S": "2", "TANDEM_SANDBOX_RPM": "4"}
    with Service(tmp_path, workers=1, concurrency=8, env=env) as service:
        service.tell_sandbox(rpm=4, window_s=2)
        shown = [data_url(noise((1200, 1200), "JPEG", seed=n, quality=60), "image/jpeg") for n in range(4)]
        jobs = [look_at(service, url) for url in shown]
        jobs += [service.submit(f"job {n}") for n in range(8)]
        until(lambda: all(service.job(one)["finished_at"] for one in jobs), within_s=60, what="all answered")
        assert {service.job(one)["status"] for one in jobs} == {"completed"}
        assert counts(service)["violations"] == 0
        assert counts(service)["window_peaks"]["sandbox"]["requests"] <= 4


def test_what_was_learned_outlives_redis_and_workers(tmp_path: Path) -> None:
    """A refusal without a hint, half of what was believed: it is kept to after everybody was killed."""
    env = {"TANDEM_LIMIT_WINDOW_S": "2", "TANDEM_GUESSED_LIMITS": "sandbox", "TANDEM_SANDBOX_RPM": "12"}
    with Service(tmp_path, workers=1, concurrency=8, env=env) as service:
        service.tell_sandbox(rpm=8, window_s=2)
        for number in range(20):
            service.submit(f"job {number}")
        until(lambda: learned(service), within_s=10)
        service.valkey.kill()
        service.workers[0].kill()
        service.valkey.start()
        until(service.is_ready, within_s=20)
        assert learned(service)["requests"] == 8
        assert until(lambda: counts(service)["answered"] == 20, within_s=20)
        assert counts(service)["violations"] <= 2


def learned(service: Service) -> dict[str, Any]:
    found = service.http.get(f"{service.url}/limits", timeout=5).json()["data"][0]["learned"]
    return dict(found or {})
