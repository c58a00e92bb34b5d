"""What a chat may ask for beside an answer, and embeddings, on a real engine through the whole service."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import batch
from tests.support.polling import until
from tests.support.service import Service
from tests.vllm import real

pytestmark = pytest.mark.timeout(400)

#: tiny-chat cannot think at will; this says that the model it is served as can.
CATALOG = """
[[model]]
id = "tiny-thinker"
abilities = ["chat", "reasoning", "tools"]
reasoning = "enable_thinking"
vllm = "tiny-chat"
"""


def served(data: Path, model: str, *args: str) -> Iterator[Service]:
    """The service with a gpu worker that serves one of the tiny models."""
    real.require()
    (data / "catalog.toml").write_text(CATALOG)
    env = {
        "TANDEM_MODEL": str(real.MODEL.with_name(model)), "TANDEM_VLLM": str(real.VENV / "bin" / "vllm"),
        "TANDEM_VLLM_ARGS": " ".join(args), "TANDEM_CATALOG": str(data / "catalog.toml"),
        "TANDEM_LEASE_S": "6", "TANDEM_DRAIN_S": "4",
    }  # fmt: skip
    with Service(data, workers=0, env=env) as running:
        running.add_worker("gpu")
        until(lambda: is_ready(running), within_s=real.START_S, what="a ready gpu worker")
        yield running


def is_ready(service: Service) -> bool:
    workers = service.http.get(f"{service.url}/readyz", timeout=10).json()["workers"]
    return [one["state"] for one in workers] == ["ready"] * len(service.workers)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    data = tmp_path_factory.mktemp("chats")
    yield from served(data, "tiny-chat", "--max-model-len", "2048", "--reasoning-parser", "qwen3")


def ask(service: Service, **body: Any) -> dict[str, Any]:
    answer = service.http.post(
        f"{service.url}/jobs", json={"mode": "gpu"} | body, headers={"Prefer": "wait=60"}, timeout=70
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_thoughts_come_apart_from_the_answer(chats: Service) -> None:
    result = ask(chats, prompt="What is 3 plus 4?", use_reasoning=True)["result"]
    assert (result["content"], result["finish_reason"]) == ("3 plus 4 is 7.", "stop")
    assert result["reasoning"] == "3 and 4 more make 7."


def test_thoughts_without_an_answer_are_no_answer(chats: Service) -> None:
    job = ask(chats, prompt="What is 3 plus 4?", use_reasoning=True, max_tokens=4)
    assert (job["status"], job["error"]["code"]) == ("failed", "reasoning_exhausted")
    assert job["usage"]["completion_tokens"] == 4


def test_an_answer_keeps_to_its_schema(chats: Service) -> None:
    # Nothing in it leaves room for white space, of which the tiny model would make no end.
    schema = {"type": "string", "enum": ["red", "green"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}}
    result = ask(chats, prompt="Say hello.", response_format=wanted, use_reasoning=False)["result"]
    assert json.loads(result["content"]) in ("red", "green")


def test_a_schema_that_breaks_the_engines_parser_costs_only_its_job(chats: Service) -> None:
    """vLLM answers 500, and lives."""
    schema = {"name": "endless", "schema": {"$ref": "#"}}
    wanted = {"type": "json_schema", "json_schema": schema}
    job = ask(chats, prompt="Say hello.", response_format=wanted, use_reasoning=False)
    assert (job["status"], job["error"]["code"]) == ("failed", "engine_error")
    assert [one["outcome"] for one in job["attempts"]] == ["failed_try", "failed"]
    assert chats.workers[0].exits == []
    assert is_ready(chats), "the engine was taken for dead"
    assert ask(chats, prompt="Say hello.", use_reasoning=False)["status"] == "completed"


def test_parts_and_system_messages_are_understood(chats: Service) -> None:
    parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of France?"}]
    turns = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": parts}]
    assert ask(chats, messages=turns, use_reasoning=False)["result"]["content"] == "The capital of France is Paris."


def test_stop_ends_the_answer(chats: Service) -> None:
    result = ask(chats, prompt="Count to ten.", stop=[" four"], use_reasoning=False)["result"]
    assert result["content"] == "one two three"


def test_a_further_model_is_served_beside(chats: Service) -> None:
    own = {"TANDEM_MODEL": str(real.MODEL.with_name("tiny-embed")), "TANDEM_VLLM_ARGS": "",
           "TANDEM_DATA": str(chats.data / "further")}  # fmt: skip
    chats.add_worker("gpu.tiny-embed", **own)
    until(lambda: is_ready(chats), within_s=real.START_S, what="the other worker's engine being ready")
    texts = {"kind": "embedding", "model": "tiny-embed", "input": ["one"]}
    chat = {"prompt": "What is the capital of France?", "use_reasoning": False}
    job = ask(chats, **texts)
    assert (job["status"], job["attempts"][0]["queue"]) == ("completed", "gpu.tiny-embed")
    job = ask(chats, **chat)
    assert (job["result"]["content"], job["attempts"][0]["queue"]) == ("The capital of France is Paris.", "gpu")
    lines = [{"custom_id": str(n), "cache": "off", **(texts if n % 2 else chat)} for n in range(8)]
    batch_id = batch.submit(chats, lines, defaults={"mode": "gpu"})
    batch.completed(chats, batch_id, within_s=60, every_s=0.1)
    assert batch.get(chats, batch_id)["queues"] == {"gpu": 4, "gpu.tiny-embed": 4}


def test_texts_become_vectors(tmp_path: Path) -> None:
    for service in served(tmp_path, "tiny-embed"):
        said = {"kind": "embedding", "model": "tiny-embed", "input": ["one", "two", "one"]}
        job = ask(service, **said, input_type="query")
        assert job["status"] == "completed", job["error"]
        first, second, third = job["result"]["embeddings"]
        assert job["result"]["dimensions"] == 64
        assert math.isclose(sum(number * number for number in first), 1.0, rel_tol=1e-3)
        assert max(abs(a - b) for a, b in zip(first, third, strict=True)) < 1e-5
        assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 1e-2
        assert (job["attempts"][0]["provider"], job["attempts"][0]["model"]) == ("vllm", "tiny-embed")
        too_long = {"kind": "embedding", "model": "tiny-embed", "input": "word " * 2000}
        assert ask(service, **too_long)["error"]["code"] == "context_too_long"
        assert ask(service, **too_long, truncate="END")["status"] == "completed"
        refused = service.http.post(f"{service.url}/jobs", json={"prompt": "hi", "mode": "gpu"}, timeout=10)
        assert (refused.status_code, list(refused.json()["errors"])) == (422, ["model"])
