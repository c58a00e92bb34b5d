"""Where else a job of mode=auto may be answered, in order; and that all others may be nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from tasks import dispatch, routing
from tasks.domain.job import Job, Kind, Mode, Submission
from tasks.domain.request import ChatRequest, Message
from tasks.domain.standing import Lesson, State
from tasks.needs import Needs
from tasks.store import fleet, jobs, learned
from tests.support.installation import given, gpu_worker

pytestmark = pytest.mark.usefixtures("valkey")

BOTH = {"NVIDIA_API_KEY": "nvapi-x", "OPENROUTER_API_KEY": "sk-or-x"}
VISION = "nvidia/nemotron-nano-12b-v2-vl"
CATALOG = """
[[model]]
id = "everywhere"
abilities = ["chat"]
nim = "at-nim"
openrouter = "at-openrouter:free"
vllm = "at-home"
[[model]]
id = "small-at-home"
abilities = ["chat"]
vllm = "small-at-home"
[[model]]
id = "vectors"
abilities = ["embedding"]
nim = "vectors-at-nim"
vllm = "vectors-at-home"
[[model]]
id = "other-vectors"
abilities = ["embedding"]
openrouter = "other-vectors:free"
"""


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    given(monkeypatch, TANDEM_CATALOG=str(tmp_path / "catalog.toml"), **BOTH)


def places(mode: Mode, model: str = "default", needs: Needs = routing.ANYTHING) -> list[tuple[str, str]]:
    """(queue, the model's id there), the first place and the further ones."""
    first = routing.route(mode, model, fleet.default(), needs)
    return [(one.queue, one.model) for one in (first, *first.further)]


def test_from_the_gpu_to_nim_and_on_to_openrouter(own: None) -> None:
    assert places(Mode.AUTO, "everywhere") == [("api", "at-nim"), ("api.openrouter", "at-openrouter:free")]
    gpu_worker(model="at-home")
    assert places(Mode.AUTO, "everywhere") == [
        ("gpu", "at-home"), ("api", "at-nim"), ("api.openrouter", "at-openrouter:free"),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", [Mode.GPU, Mode.API])
def test_other_modes_stay_where_they_are(own: None, mode: Mode) -> None:
    gpu_worker(model="at-home")
    assert len(places(mode, "everywhere")) == len(places(mode)) == 1


def test_a_named_model_goes_only_where_it_is(own: None) -> None:
    gpu_worker(model="small-at-home")
    assert places(Mode.AUTO, "small-at-home") == [("gpu", "small-at-home")]
    assert places(Mode.AUTO, VISION) == [("api", VISION), ("api.openrouter", f"{VISION}:free")]


def test_the_default_of_a_chat_may_be_another_model_elsewhere(own: None) -> None:
    gpu_worker(model="at-home")
    assert [queue for queue, _ in places(Mode.AUTO)] == ["gpu", "api", "api.openrouter"]


def test_an_embedding_goes_nowhere_but_to_the_same_model(own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = Needs(ability="embedding")
    gpu_worker(model="vectors-at-home")
    assert places(Mode.AUTO, "vectors", embedding) == [("gpu", "vectors-at-home"), ("api", "vectors-at-nim")]
    given(monkeypatch, TANDEM_API_MODEL="other-vectors", NVIDIA_API_KEY="")
    assert places(Mode.AUTO, "default", embedding) == [("gpu", "vectors-at-home")]
    given(monkeypatch, TANDEM_API_MODEL="vectors", NVIDIA_API_KEY="nvapi-x")
    assert places(Mode.AUTO, "default", embedding) == [("gpu", "vectors-at-home"), ("api", "vectors-at-nim")]


def test_an_embedding_of_a_model_that_nobody_knows_goes_nowhere_else(own: None) -> None:
    for provider in ("nim", "openrouter"):
        learned.default().keep_list(provider, ["unknown-vectors"])
    assert len(places(Mode.AUTO, "unknown-vectors")) == 2
    assert len(places(Mode.AUTO, "unknown-vectors", Needs(ability="embedding"))) == 1


def test_only_where_it_can_be_done(own: None) -> None:
    gpu_worker(model="small-at-home")
    assert [queue for queue, _ in places(Mode.AUTO, "default", Needs(vision=True))] == ["api.openrouter"]


def test_not_where_it_is_retired(own: None) -> None:
    learned.default().note("openrouter", "at-openrouter:free", Lesson(state=State.RETIRED, why="gone"))
    assert places(Mode.AUTO, "everywhere") == [("api", "at-nim")]


def test_no_simulated_answer_stands_in_for_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TANDEM_SANDBOX_URL="http://127.0.0.1:1/v1")
    gpu_worker()
    assert [queue for queue, _ in places(Mode.AUTO)] == ["gpu"]


# ---- what the record says of it ----


def submit(mode: Mode, model: str = "everywhere", max_tokens: int | None = None) -> Job:
    request = ChatRequest(messages=(Message(role="user", content="hi"),), max_tokens=max_tokens)
    said = Submission(owner="o", kind=Kind.CHAT, mode=mode, model=model, request=request, expires_in_s=60)
    return dispatch.submit(said)[0]


def record(job: Job) -> tuple[list[list[str]], str | None]:
    values = jobs.default().redis.hmget(f"tandem:job:{job.id}", "routes", "patience")
    routes, patience = cast(list[str | None], values)
    return json.loads(routes or "[]"), patience


def test_a_record_has_all_places_and_its_patience_with_the_engine(own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    at_nim = ["api", "nim", "at-nim", "at-nim"]
    at_openrouter = ["api.openrouter", "openrouter", "at-openrouter:free", "at-openrouter:free"]
    assert record(submit(Mode.AUTO)) == ([at_nim, at_openrouter], None)
    gpu_worker(model="at-home")
    given(monkeypatch, TANDEM_AUTO_WAIT_S="7")
    found = record(submit(Mode.AUTO))
    assert found == ([["gpu", "vllm", "at-home", "at-home"], at_nim, at_openrouter], "7000")
    for mode in (Mode.GPU, Mode.API):
        assert record(submit(mode)) == ([], None)


def test_a_place_whose_minute_is_too_small_for_it_is_left_out(own: None) -> None:
    """OpenRouter takes 1,000 tokens a minute, NIM any number."""
    assert len(record(submit(Mode.AUTO, max_tokens=900))[0]) == 2
    assert record(submit(Mode.AUTO, max_tokens=2000))[0] == []
