"""auto | gpu | api → a queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import routing, serving, settings
from tasks.domain.errors import InvalidRequest, Unavailable, UnknownModel
from tasks.domain.job import Mode
from tasks.needs import LONGEST_TOKEN, Needs
from tasks.store import fleet
from tasks.store.fleet import Worker
from tests.support.installation import given, gpu_worker
from tests.support.valkey import Valkey

HOSTED = "nvidia/nemotron-3-nano-30b-a3b"


@pytest.fixture(autouse=True)
def _clean(valkey: Valkey) -> None:
    """An empty fleet, and no provider."""


def queue(mode: Mode, model: str = "default") -> str:
    return routing.route(mode, model, fleet.default()).queue


def test_auto_prefers_a_live_gpu_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    assert queue(Mode.AUTO) == "api"
    gpu_worker()
    assert queue(Mode.AUTO) == "gpu"
    assert queue(Mode.AUTO, "tiny-chat") == "gpu"
    assert queue(Mode.AUTO, HOSTED) == "api"


@pytest.mark.parametrize(("ready_in_s", "expected"), [(5.0, "gpu"), (500.0, "api")])
def test_auto_waits_for_an_engine_that_is_soon_ready(
    monkeypatch: pytest.MonkeyPatch, ready_in_s: float, expected: str
) -> None:
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x", TANDEM_AUTO_WAIT_S="60")
    gpu_worker("loading", ready_in_s=ready_in_s)
    assert queue(Mode.AUTO) == expected


def test_what_a_hosted_model_cannot_do_is_no_matter_where_it_may_not_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosted default takes no images; the engine's model does, and is only not there."""
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    with pytest.raises(Unavailable):
        routing.route(Mode.GPU, "default", fleet.default(), Needs(vision=True))
    gpu_worker("broken", model="tiny-vl")
    with pytest.raises(Unavailable):
        routing.route(Mode.GPU, "default", fleet.default(), Needs(vision=True))
    gpu_worker(model="tiny-chat")
    with pytest.raises(InvalidRequest, match="tiny-chat"):
        routing.route(Mode.GPU, "default", fleet.default(), Needs(vision=True))


def test_auto_waits_in_the_gpu_queue_when_the_engine_vanished_and_nobody_else_is_there() -> None:
    with pytest.raises(Unavailable):
        queue(Mode.AUTO)
    gpu_worker()
    fleet.default().goodbye("gpu0")
    assert queue(Mode.AUTO) == "gpu"


@pytest.mark.parametrize(
    ("state", "takes"), [("ready", True), ("loading", True), ("broken", False), ("draining", False)]
)
def test_gpu_needs_a_live_or_loading_worker(monkeypatch: pytest.MonkeyPatch, state: str, takes: bool) -> None:
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    gpu_worker(state, ready_in_s=10_000.0)
    if takes:
        assert queue(Mode.GPU) == "gpu"
    else:
        with pytest.raises(Unavailable) as refused:
            queue(Mode.GPU)
        assert refused.value.retry_after_s > 0


def test_gpu_never_goes_to_a_hosted_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x", OPENROUTER_API_KEY="sk-or-x")
    for model in ("default", HOSTED, "tiny-chat"):
        with pytest.raises(Unavailable):
            queue(Mode.GPU, model)


def test_api_needs_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_worker()
    with pytest.raises(Unavailable):
        queue(Mode.API)
    given(monkeypatch, OPENROUTER_API_KEY="sk-or-x")
    assert queue(Mode.API) == "api"


def test_with_both_keys_each_provider_has_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x", OPENROUTER_API_KEY="sk-or-x")
    assert queue(Mode.API) == "api"
    assert queue(Mode.API, HOSTED) == "api"
    assert queue(Mode.API, "nvidia/nemotron-nano-12b-v2-vl:free") == "api.openrouter"


def test_a_name_that_one_provider_uses_goes_to_that_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x", OPENROUTER_API_KEY="sk-or-x")
    vision = "nvidia/nemotron-nano-12b-v2-vl"
    assert routing.route(Mode.API, vision, fleet.default()).target == vision
    assert queue(Mode.API, f"{vision}:free") == "api.openrouter"
    given(monkeypatch, OPENROUTER_API_KEY="")
    assert routing.route(Mode.API, f"{vision}:free", fleet.default()).target == vision


def test_an_engine_serves_a_model_by_all_its_names() -> None:
    gpu_worker(model="Qwen/QwQ-32B")
    for mode in (Mode.GPU, Mode.AUTO):
        assert routing.route(mode, "qwen/qwq-32b", fleet.default()).target == "Qwen/QwQ-32B"


def test_each_further_model_has_a_queue_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_worker(model="tiny-chat")
    gpu_worker(model="acme/Writer-7B", queue="gpu.acme/Writer-7B", name="gpu1")
    for mode in (Mode.GPU, Mode.AUTO):
        assert queue(mode) == queue(mode, "tiny-chat") == "gpu"
        further = routing.route(mode, "acme/Writer-7B", fleet.default())
        assert (further.queue, further.target) == ("gpu.acme/Writer-7B", "acme/Writer-7B")
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    assert queue(Mode.AUTO, HOSTED) == "api"


def test_a_further_model_is_waited_for_where_it_was_served() -> None:
    gpu_worker("broken", model="acme/Writer-7B", queue="gpu.acme/Writer-7B")
    fleet.default().goodbye("gpu0")
    gpu_worker(model="tiny-chat")
    with pytest.raises(Unavailable):
        queue(Mode.GPU, "acme/Writer-7B")
    assert queue(Mode.AUTO, "acme/Writer-7B") == "gpu.acme/Writer-7B"
    with pytest.raises(UnknownModel):
        queue(Mode.AUTO, "acme/writer-8b")


def test_a_worker_of_a_further_model_does_not_answer_for_the_default_one() -> None:
    gpu_worker(model="acme/Writer-7B", queue="gpu.acme/Writer-7B")
    with pytest.raises(Unavailable):
        queue(Mode.GPU)


def test_the_default_of_a_provider_may_be_an_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, OPENROUTER_API_KEY="sk-or-x", TANDEM_API_MODEL="nvidia/nemotron-nano-12b-v2-vl")
    assert serving.hosted(settings.get())[0].target == "nvidia/nemotron-nano-12b-v2-vl:free"


def test_an_unknown_model_is_named_with_those_that_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    for mode in Mode:
        with pytest.raises(UnknownModel) as refused:
            queue(mode, "nvidia/nemotron-3-nano-30b")
        assert HOSTED in refused.value.near
        assert refused.value.field == "model"


SANDBOX = {"TANDEM_SANDBOX_URL": "http://127.0.0.1:1/v1"}


def test_the_sandbox_stands_in_only_where_there_is_no_key_and_on_a_queue_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(monkeypatch, **SANDBOX)
    assert queue(Mode.AUTO, "sandbox/hang") == "api.sandbox"
    assert queue(Mode.API, HOSTED) == "api.sandbox"
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    assert queue(Mode.API, HOSTED) == "api"
    with pytest.raises(UnknownModel):
        queue(Mode.AUTO, "sandbox/hang")


@pytest.mark.parametrize(
    "environment",
    [{"TANDEM_SANDBOX": "0"}, {"TANDEM_MODEL": "acme/Writer-7B"}, {"TANDEM_VLLM": "/opt/vllm/bin/vllm"}],
    ids=["it is forbidden", "the settings name a model", "they name an engine"],
)
def test_without_the_sandbox_and_a_key_there_is_no_hosted_provider(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    given(monkeypatch, **SANDBOX, **environment)
    with pytest.raises(Unavailable, match="no hosted provider is configured"):
        queue(Mode.API)
    with pytest.raises(Unavailable):
        queue(Mode.AUTO)


@pytest.mark.parametrize("state", ["ready", "loading", "broken", "draining", "gone"])
@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.API])
def test_a_house_with_an_engine_never_gives_a_simulated_answer(
    monkeypatch: pytest.MonkeyPatch, state: str, mode: Mode
) -> None:
    """Not even where the process that routes knows of no engine, and the engine loads for long or was killed."""
    given(monkeypatch, **SANDBOX, TANDEM_AUTO_WAIT_S="60")
    gpu_worker("ready" if state == "gone" else state, ready_in_s=500.0)
    if state == "gone":
        fleet.default().goodbye("gpu0")
    if mode is Mode.AUTO:
        assert queue(mode) == "gpu"
    else:
        with pytest.raises(Unavailable, match="no hosted provider is configured"):
            queue(mode)
    with pytest.raises(Unavailable):
        queue(mode, HOSTED)
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    assert queue(mode, HOSTED) == "api"


def test_where_a_worker_has_a_real_provider_nobody_simulates(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **SANDBOX)
    fleet.default().hello(Worker(name="a1@here", queues="api.sandbox", providers="sandbox", state="ready"))
    assert queue(Mode.AUTO) == "api.sandbox"
    fleet.default().hello(Worker(name="a1@there", queues="api", providers="nim", state="ready"))
    for mode in (Mode.AUTO, Mode.API):
        with pytest.raises(Unavailable):
            queue(mode)


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.API])
@pytest.mark.parametrize(
    ("providers", "model", "variables"),
    [
        ("nim", "default", "NVIDIA_API_KEY"),
        ("nim,openrouter", "default", "NVIDIA_API_KEY and OPENROUTER_API_KEY"),
        ("nim,openrouter", HOSTED, "NVIDIA_API_KEY"),  # which OpenRouter does not serve
    ],
)
def test_a_web_server_without_the_key_that_workers_have_says_which_to_set(
    monkeypatch: pytest.MonkeyPatch, mode: Mode, providers: str, model: str, variables: str
) -> None:
    given(monkeypatch, **SANDBOX)
    fleet.default().hello(Worker(name="a1@there", queues="api,api.openrouter", providers=providers, state="ready"))
    with pytest.raises(Unavailable) as refused:
        queue(mode, model)
    said = refused.value.message
    assert said.endswith(f"though live workers have one: set {variables} for the web server as for them"), said
    assert ("no live gpu worker" in said) is (mode is Mode.AUTO)


def test_without_any_key_it_is_said_which_variables_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match=r"configured: set NVIDIA_API_KEY or OPENROUTER_API_KEY$"):
        queue(Mode.AUTO)
    for mode, model in ((Mode.GPU, "default"), (Mode.AUTO, "tiny-chat")):
        with pytest.raises(Unavailable, match=rf"^no live gpu worker serves {model}$"):
            queue(mode, model)


def test_a_demonstration_takes_the_hosted_providers_place_and_never_an_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **SANDBOX, TANDEM_SANDBOX="1", NVIDIA_API_KEY="nvapi-x", TANDEM_MODEL="tiny-chat")
    assert queue(Mode.AUTO) == queue(Mode.API) == "api.sandbox"
    for state in ("ready", "loading", "broken"):
        gpu_worker(state, ready_in_s=500.0)
        assert queue(Mode.AUTO) == "gpu"
        assert queue(Mode.API) == "api.sandbox"
        assert not routing.route(Mode.AUTO, "default", fleet.default()).further


def test_what_was_accepted_for_a_real_place_is_not_simulated_later(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **SANDBOX)
    assert routing.simulates(fleet.default())
    for mode in (Mode.AUTO, Mode.API):
        with pytest.raises(Unavailable):
            routing.route(mode, "default", fleet.default(), simulated=False)


PLAIN = """
[[model]]
id = "plain"
abilities = ["chat"]
context = 100
nim = "plain"

[[model]]
id = "thinker"
abilities = ["chat", "reasoning"]
reasoning = "always"
nim = "thinker"
vllm = "thinker"
"""


@pytest.mark.parametrize(
    ("model", "needs", "field"),
    [
        ("plain", Needs(use_reasoning=True), "use_reasoning"),
        ("thinker", Needs(use_reasoning=False), "use_reasoning"),
        ("plain", Needs(vision=True), "model"),
        ("plain", Needs(ability="embedding"), "model"),
        ("plain", Needs(max_tokens=101), "max_tokens"),
        ("plain", Needs(characters=100 * LONGEST_TOKEN + 1), "messages"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_the_fields_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, needs: Needs, field: str
) -> None:
    (tmp_path / "catalog.toml").write_text(PLAIN)
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x", TANDEM_CATALOG=str(tmp_path / "catalog.toml"))
    for mode in (Mode.API, Mode.AUTO):
        with pytest.raises(InvalidRequest) as refused:
            routing.route(mode, model, fleet.default(), needs)
        assert refused.value.field == field
    assert routing.route(Mode.API, model, fleet.default(), Needs(max_tokens=10, characters=300)).queue == "api"


@pytest.mark.parametrize(("texts", "dimensions"), [(512, 0), (512, 4096), (1024, 2048), (2048, 1024)])
def test_more_numbers_than_one_answer_may_have_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, texts: int, dimensions: int
) -> None:
    vectors = '[[model]]\nid = "vectors"\nabilities = ["embedding"]\ndimensions = 4096\nnim = "vectors"\n'
    (tmp_path / "catalog.toml").write_text(vectors)
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x", TANDEM_CATALOG=str(tmp_path / "catalog.toml"))

    def routed(texts: int) -> str:
        needs = Needs(ability="embedding", texts=texts, dimensions=dimensions)
        return routing.route(Mode.API, "vectors", fleet.default(), needs).queue

    assert routed(texts) == "api"
    with pytest.raises(InvalidRequest, match=f" {texts} texts") as refused:
        routed(texts + 1)
    assert refused.value.field == "input"


def test_auto_goes_where_it_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local engine's tiny-chat does not reason; NIM's default does."""
    given(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    gpu_worker()
    thinking = Needs(use_reasoning=True)
    assert routing.route(Mode.AUTO, "default", fleet.default(), thinking).queue == "api"
    with pytest.raises(InvalidRequest):
        routing.route(Mode.GPU, "default", fleet.default(), thinking)
