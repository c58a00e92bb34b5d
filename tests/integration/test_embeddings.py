"""An embedding's way through the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.service import Service
from tests.support.verdict import wait_for_all

MODEL = "sandbox/echo"


def test_texts_come_back_as_vectors(service: Service) -> None:
    answer = service.http.post(
        f"{service.url}/jobs", headers={"Prefer": "wait=10"}, timeout=20,
        json={"kind": "embedding", "model": MODEL, "input": ["one", "two"], "input_type": "passage", "dimensions": 8},
    )  # fmt: skip
    job = answer.json()
    assert (answer.status_code, job["kind"], job["status"]) == (200, "embedding", "completed")
    assert job["result"]["dimensions"] == 8
    assert [len(vector) for vector in job["result"]["embeddings"]] == [8, 8]
    assert job["usage"] == {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": MODEL}, "input"),
        ({"model": MODEL, "input": []}, "input"),
        ({"model": MODEL, "input": ["a", ""]}, "input.1"),
        ({"input": "a"}, "model"),
        ({"model": "default", "input": "a"}, "model"),
        ({"model": "nvidia/nemotron-3-nano-30b-a3b", "input": "a"}, "model"),
        ({"model": MODEL, "input": "a", "temperature": 1}, "temperature"),
        ({"model": MODEL, "input": "a", "input_type": "doc"}, "input_type"),
        ({"model": MODEL, "input": "a", "dimensions": 0}, "dimensions"),
        ({"model": MODEL, "kind": "chat", "prompt": "a", "input": "b"}, "input"),
    ],
)
def test_bad_input_names_its_field(service: Service, body: dict[str, object], field: str) -> None:
    answer = service.http.post(f"{service.url}/jobs", json={"kind": "embedding"} | body, timeout=5)
    assert (answer.status_code, list(answer.json()["errors"])) == (422, [field])


def test_a_list_of_more_calls_than_a_minute_allows_keeps_to_the_limit(tmp_path: Path) -> None:
    """Twelve calls where five are let through in a window, and other jobs beside them."""
    limits = {"TANDEM_LIMIT_WINDOW_S": "2", "TANDEM_SANDBOX_RPM": "5", "TANDEM_EMBEDDING_BATCH": "2"}
    with Service(tmp_path, workers=2, concurrency=8, env=limits) as service:
        service.tell_sandbox(rpm=5, window_s=2)
        body = {"model": MODEL, "input": [f"text {n}" for n in range(24)], "cache": "off"}
        answer = service.http.post(f"{service.url}/jobs", json=body, timeout=5)
        assert answer.status_code == 202, answer.text
        chats = [service.submit(f"chat {n}") for n in range(6)]
        wait_for_all(service, [answer.json()["id"], *chats], within_s=40)
        job = service.job(answer.json()["id"])
        seen = service.http.get(f"{service.sandbox_root}/control/counts", timeout=5).json()
    assert (job["status"], len(job["result"]["embeddings"]), len(job["attempts"])) == ("completed", 24, 1)
    assert seen["violations"] == 0
    assert seen["answered"] == 18
