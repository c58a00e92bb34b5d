"""An image's way from the POST to a provider: stored once, fitted before the call, told in a receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.providers.sandbox.thread import SandboxThread
from tests.images.pictures import BLUE, asking, data_url, halves, noise, plain
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

ECHO = "sandbox/echo"


def answered(service: Service, *urls: str, **more: Any) -> dict[str, Any]:
    body = {"model": ECHO, "messages": asking(*urls), "mode": "api", **more}
    answer = service.http.post(f"{service.url}/jobs", json=body, headers={"Prefer": "wait=20"}, timeout=30)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def call_of(service: Service, job: dict[str, Any]) -> dict[str, Any]:
    [one] = [c for c in calls(service.sandbox_log) if c["job_id"] == job["id"] and c["event"] == "ended"]
    return one


def test_two_images_have_two_answers_and_one_has_one(service: Service) -> None:
    red, blue, again = (answered(service, data_url(plain(c)))["result"]["content"] for c in ((9, 9, 9), BLUE, BLUE))
    assert red.startswith("[simulated] ")
    assert red != blue == again


def test_a_large_image_is_fitted_and_the_job_carries_the_receipt(service: Service) -> None:
    picture = noise((1500, 1200), "JPEG", quality=90)
    job = answered(service, data_url(picture), data_url(halves((60, 40), 6)))
    first, second = job["images"]
    assert first["in"] == [1500, 1200, len(picture)]
    width, height, size_bytes, quality = first["out"]
    assert (max(width, height) <= 1024, size_bytes <= 135_000, quality < 90) == (True, True, True)
    assert (second["in"][:2], second["out"][:2]) == ([60, 40], [40, 60])
    call = call_of(service, job)
    assert call["images"] == 2
    assert 0 < call["image_base64"] < 180_000
    assert job["usage"]["prompt_tokens"] > 2 * 80


def test_an_image_survives_what_its_job_survives(service: Service) -> None:
    job = answered(service, data_url(plain()), model="sandbox/status-503+times-2")
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["failed_try", "failed_try", "completed"]
    assert job["images"][0]["out"][:2] == [40, 30]


def test_a_refused_job_has_its_receipt_too(service: Service) -> None:
    job = answered(service, data_url(plain()), model="sandbox/status-400")
    assert (job["status"], job["error"]["code"]) == ("failed", "bad_request")
    assert job["images"][0]["out"][:2] == [40, 30]


def test_nim_is_shown_what_it_takes_inline(tmp_path: Path) -> None:
    """The sandbox refuses, in NIM's dialect, what NIM would."""
    picture = noise((1500, 1200), "JPEG", quality=90)
    with SandboxThread() as sandbox:
        env = {
            "NVIDIA_API_KEY": "nvapi-test", "NVIDIA_BASE_URL": f"{sandbox.url}/nim/v1",
            "NVCF_BASE_URL": f"{sandbox.url}/nim", "TANDEM_API_MODEL": "nvidia/nemotron-nano-12b-v2-vl",
        }  # fmt: skip
        with Service(tmp_path, workers=1, env=env, sandbox_url=f"{sandbox.url}/v1") as service:
            job = answered(service, data_url(picture), model="default")
        assert (job["status"], job["attempts"][0]["provider"]) == ("completed", "nim")
        [call] = sandbox.state.calls.entries
        assert 100_000 < call.image_base64 < 180_000


def test_an_image_that_is_gone_fails_its_job_by_name(service: Service) -> None:
    service.tell_sandbox(fail={"status": 503, "for_s": 3})
    body = {"model": ECHO, "messages": asking(data_url(plain((1, 2, 3)))), "mode": "api"}
    job_id = service.http.post(f"{service.url}/jobs", json=body, timeout=10).json()["id"]
    until(lambda: service.job(job_id)["attempts"], within_s=10)
    for key in service.valkey.client.keys("tandem:media:*"):
        service.valkey.client.delete(key)
    job = until(lambda: (found := service.job(job_id))["status"] == "failed" and found, within_s=20)
    assert job["error"]["code"] == "image_gone"
