"""An embedding's way through the service."""

from __future__ import annotations

import pytest

from tests.support.service import Service

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
