"""Quotas by the settings, and the estimate that they are asked for."""

from __future__ import annotations

import json

import pytest

from tasks import quotas, settings
from tasks.domain import estimate
from tasks.domain.quota import Quota
from tasks.settings import BadSettings
from tests.conftest import forget_caches


def given(monkeypatch: pytest.MonkeyPatch, **env: str) -> dict[str, Quota]:
    for name in ("NVIDIA_API_KEY", "NVIDIA_BASE_URL", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("TANDEM_ENV_FILE", "/dev/null")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    forget_caches()
    return quotas.quotas(settings.get())


def test_no_limits_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given(monkeypatch) == {}
    assert quotas.policy(settings.get()) == ""


def test_only_providers_with_a_key_have_quotas(monkeypatch: pytest.MonkeyPatch) -> None:
    found = given(monkeypatch, OPENROUTER_API_KEY="sk-or-x", TANDEM_SANDBOX_RPM="5")
    assert found == {"openrouter": Quota(rpm=10, tpm=1000, rpd=50)}


def test_the_window_scales_all_times(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    said = json.loads(quotas.policy(settings.get()))
    assert {name: said[name] for name in ("window", "arrival", "grant")} == {
        "window": 60000, "arrival": 1000, "grant": 15000,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["{", "[1]", '{"nim": {"rpm": 1}}', '{"nim:x": {"rps": 1}}', '{"nim:x": {"rpm": -1}}'])
def test_limits_that_make_no_sense_are_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(BadSettings, match="TANDEM_MODEL_LIMITS"):
        given(monkeypatch, TANDEM_MODEL_LIMITS=text)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ("", 4),
        ("abcdef", 6),
        ("你好", 6),
        ([{"type": "text", "text": "abc"}, {"type": "image_url", "image_url": {"url": "x" * 10_000}}], 90),
    ],
)
def test_a_prompts_tokens_are_estimated(content: object, tokens: int) -> None:
    assert estimate.prompt_tokens({"messages": [{"role": "user", "content": content}]}) == tokens


@pytest.mark.parametrize(
    ("request_", "size_bytes"),
    [
        ({"messages": [], "max_tokens": 1000}, 4000),
        ({"messages": []}, estimate.ANSWER_BYTES),
        ({"messages": [], "max_tokens": 2**31 - 1}, 100_000),
        ({"input": ["a", "b"], "dimensions": 64}, 2560),
        ({"input": ["a", "b"]}, 10_240),
        ({"input": ["a"] * 2048}, 100_000),
    ],
)
def test_an_answer_takes_what_is_asked_for_and_no_more_than_one_may(
    request_: dict[str, object], size_bytes: int
) -> None:
    assert estimate.answer_bytes(request_, most=100_000, dimensions=256) == size_bytes
