"""Texts become vectors, in every provider's dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import catalog, settings
from tasks.domain import provider_errors as errors
from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.result import Completion, EmbeddingResult
from tasks.providers.base import Provider
from tasks.providers.sandbox.thread import SandboxThread
from tasks.providers.sandbox_client import SandboxClient
from tests.providers.clients import HELLO, a_call

TEXTS = ("one", "two words", "three")


def embed(client: Provider, words: str = "echo", **said: Any) -> Completion[EmbeddingResult]:
    request = EmbeddingRequest(**{"input": TEXTS, "input_type": "query"} | said)
    return client.embed(f"sandbox/{words}:free", request, a_call())


def test_each_text_has_its_vector_in_order(client: Provider) -> None:
    together = embed(client)
    alone = [embed(client, input=(text,)).result.embeddings[0] for text in TEXTS]
    assert list(together.result.embeddings) == alone
    assert len(set(alone)) == len(TEXTS)
    assert together.result.dimensions == 16
    assert together.usage is not None
    assert (together.usage.prompt_tokens, together.usage.completion_tokens) == (4, 0)


def test_more_numbers_than_one_answer_may_have_are_given_up_after_the_first_call(sandbox: SandboxThread) -> None:
    client = SandboxClient(base_url=f"{sandbox.url}/v1", embedding_batch=2)
    before = len(sandbox.state.calls.entries)
    with pytest.raises(errors.BadRequest, match="at the most"):
        embed(client, input=("x",) * 513, dimensions=4096)
    assert len(sandbox.state.calls.entries) - before == 1


def test_dimensions_reach_the_model(client: Provider) -> None:
    assert embed(client, dimensions=5).result.dimensions == 5


def test_the_side_of_the_search_reaches_hosted_models(client: Provider) -> None:
    as_query, as_passage = (embed(client, input_type=side).result for side in ("query", "passage"))
    # vLLM knows no sides.
    assert (as_query == as_passage) == (client.name == "vllm")


def test_many_texts_go_up_in_several_calls_and_come_back_as_one(sandbox: SandboxThread) -> None:
    client = SandboxClient(base_url=f"{sandbox.url}/v1", embedding_batch=64)
    texts = tuple(f"text {n}" for n in range(150))
    before = len(sandbox.state.calls.entries)
    found = embed(client, input=texts)
    assert len(sandbox.state.calls.entries) - before == 3
    assert len(found.result.embeddings) == 150
    assert found.result.embeddings[149] == embed(client, input=(texts[149],)).result.embeddings[0]
    assert found.usage is not None
    assert found.usage.prompt_tokens == 300


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("status-401", errors.AuthenticationFailed), ("status-404", errors.ModelNotFound),
        ("status-410", errors.ModelRetired), ("status-422", errors.BadRequest), ("status-429", errors.RateLimited),
        ("too-long", errors.ContextTooLong), ("no-choice", errors.InvalidResponse),
    ],
)  # fmt: skip
def test_a_failure_has_a_name(client: Provider, words: str, expected: type[errors.ProviderError]) -> None:
    with pytest.raises(errors.ProviderError) as raised:
        embed(client, words)
    assert type(raised.value) is expected


BASE_MODEL = """
[[model]]
id = "base"
abilities = ["chat", "code"]
completions = true
vllm = "sandbox/echo:free"
nim = "sandbox/echo:free"
openrouter = "sandbox/echo:free"
"""


def test_a_base_model_is_asked_to_go_on_with_the_text(
    client: Provider, sandbox: SandboxThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "catalog.toml").write_text(BASE_MODEL)
    monkeypatch.setenv("TANDEM_CATALOG", str(tmp_path / "catalog.toml"))
    forget: list[Callable[[], None]] = [
        settings.get.cache_clear, catalog.models.cache_clear, catalog._by_provider.cache_clear,
    ]  # fmt: skip
    for one in forget:
        one()
    try:
        done = client.complete("sandbox/echo:free", HELLO, a_call())
    finally:
        monkeypatch.undo()
        for one in forget:
            one()
    path = sandbox.state.calls.entries[-1].path
    assert path.endswith("/chat/completions" if client.name == "sandbox" else "/v1/completions")
    assert json.dumps(done.result.to_json())
    assert (done.result.content or "").startswith("[simulated] ")
