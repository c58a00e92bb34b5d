"""When an answer may be shared, and that all it depends on is part of the question."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tasks import dispatch
from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.job import Cache, Kind, Mode, Submission
from tasks.domain.request import ChatRequest, Image, Message, Text
from tasks.store import fleet, jobs, keys
from tasks.store.fleet import Worker
from tests.conftest import forget_caches
from tests.images.pictures import data_url, plain
from tests.support.valkey import Valkey

TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}, "b": {}}}},
}
CHAT = ChatRequest(messages=(Message(role="user", content="hi"),), temperature=0)
SEEN = Message(role="user", content=(Text(text="What?"), Image(url=data_url(plain()))))
EMBEDDING = EmbeddingRequest(input=("a", "b"))
ASKED = Submission(owner="o", kind=Kind.CHAT, mode=Mode.AUTO, model="sandbox/echo", request=CHAT, expires_in_s=120)


@pytest.fixture(autouse=True)
def _provider(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch)


def be(monkeypatch: pytest.MonkeyPatch, **env: str) -> None:
    """An installation with these variables."""
    for name, value in {"TANDEM_SANDBOX_URL": "http://127.0.0.1:9/v1", **env}.items():
        monkeypatch.setenv(name, value)
    forget_caches()


def submitted(asked: Submission, *names: str) -> list[Any]:
    """These fields of the record of a job that is submitted so."""
    job_id = dispatch.submit(asked)[0].id
    return cast(list[Any], jobs.default().redis.hmget(keys.job(job_id), names))


def question(asked: Submission) -> str | None:
    return cast("str | None", submitted(asked, "question")[0])


def of_chat(**change: Any) -> Submission:
    return replace(ASKED, request=replace(CHAT, **change))


def of_message(message: Message) -> Submission:
    return of_chat(messages=(message,))


def embedding(**change: Any) -> Submission:
    return replace(ASKED, kind=Kind.EMBEDDING, request=replace(EMBEDDING, **change))


#: Of every field that a request consists of, one with it and one with another value of it.
CHANGES: dict[tuple[type, str], tuple[Submission, Submission]] = {
    (ChatRequest, "messages"): (of_chat(), of_message(Message(role="user", content="ho"))),
    (ChatRequest, "max_tokens"): (of_chat(), of_chat(max_tokens=5)),
    (ChatRequest, "temperature"): (of_chat(seed=1), of_chat(seed=1, temperature=0.5)),
    (ChatRequest, "top_p"): (of_chat(), of_chat(top_p=0.5)),
    (ChatRequest, "stop"): (of_chat(stop=("a", "b")), of_chat(stop=("b", "a"))),
    (ChatRequest, "seed"): (of_chat(seed=1), of_chat(seed=2)),
    (ChatRequest, "response_format"): (of_chat(), of_chat(response_format={"type": "json_object"})),
    (ChatRequest, "tools"): (of_chat(), of_chat(tools=(TOOL,))),
    (ChatRequest, "tool_choice"): (of_chat(tools=(TOOL,)), of_chat(tools=(TOOL,), tool_choice="none")),
    (ChatRequest, "use_reasoning"): (of_chat(use_reasoning=True), of_chat(use_reasoning=False)),
    (ChatRequest, "retry_exhausted"): (of_chat(), of_chat(retry_exhausted=True)),
    (Message, "role"): (of_chat(), of_message(Message(role="system", content="hi"))),
    (Message, "content"): (of_chat(), of_message(Message(role="user", content=(Text(text="hi"),)))),
    (Message, "tool_calls"): (
        of_message(Message(role="assistant", content="hi")),
        of_message(Message(role="assistant", content="hi", tool_calls=({"id": "1"},))),
    ),
    (Message, "tool_call_id"): (
        of_message(Message(role="tool", content="hi", tool_call_id="1")),
        of_message(Message(role="tool", content="hi", tool_call_id="2")),
    ),
    (Text, "text"): (
        of_message(Message(role="user", content=(Text(text="a"),))),
        of_message(Message(role="user", content=(Text(text="b"),))),
    ),
    (Image, "url"): (
        of_message(SEEN),
        of_message(Message(role="user", content=(Text(text="What?"), Image(url=data_url(plain((1, 2, 3))))))),
    ),
    (Image, "detail"): (of_message(SEEN), of_message(SEEN.with_images(lambda image: replace(image, detail="low")))),
    (EmbeddingRequest, "input"): (embedding(), embedding(input=("b", "a"))),
    (EmbeddingRequest, "input_type"): (embedding(input_type="query"), embedding(input_type="passage")),
    (EmbeddingRequest, "truncate"): (embedding(), embedding(truncate="END")),
    (EmbeddingRequest, "dimensions"): (embedding(), embedding(dimensions=5)),
}


def test_no_field_of_a_request_is_forgotten() -> None:
    parts = (ChatRequest, Message, Text, Image, EmbeddingRequest)
    assert set(CHANGES) == {(part, field.name) for part in parts for field in dataclasses.fields(part)}


@pytest.mark.parametrize("field", CHANGES, ids=lambda field: f"{field[0].__name__}.{field[1]}")
def test_a_changed_field_is_another_question(field: tuple[type, str]) -> None:
    one, other = CHANGES[field]
    names = [question(asked) for asked in (one, other, one)]
    assert None not in names
    assert names[0] == names[2] != names[1]


#: What a submission says besides its request: a change of these is another question, another flight, or neither.
ASKS: dict[str, Any] = {
    "owner": "p",
    "model": "sandbox/tokens-5",
    "kind": Kind.EMBEDDING,
    "request": replace(CHAT, max_tokens=5),
}
TERMS: dict[str, Any] = {"mode": Mode.API}
NEITHER: dict[str, Any] = {
    "metadata": {"a": "b"},
    "expires_in_s": 60,
    "idempotency_key": "k",
    "fingerprint": "f",
    "cache": Cache.USE,
}
#: Written on the way in, from the request's own.
DERIVED = {"images"}


def test_no_field_of_a_submission_is_forgotten() -> None:
    """A new one that may change who answers, or what, belongs into the question or the terms of its flight."""
    assert {*ASKS, *TERMS, *NEITHER, *DERIVED} == {field.name for field in dataclasses.fields(Submission)}


@pytest.mark.parametrize("name", [*ASKS, *TERMS, *NEITHER])
def test_what_else_a_submission_says(name: str) -> None:
    changed = replace(ASKED, **{name: {**ASKS, **TERMS, **NEITHER}[name]})
    if name == "kind":
        changed = embedding()
    first, second = (submitted(asked, "question", "flight") for asked in (ASKED, changed))
    assert (first[0] == second[0]) == (name not in ASKS)
    assert (first[1] == second[1]) == (name in NEITHER)


def test_a_named_model_waits_for_nobody_who_took_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever took the default may be answered by another model yet."""
    be(monkeypatch, TANDEM_API_MODEL="sandbox/echo")
    default, named = (
        submitted(replace(ASKED, model=model), "question", "flight") for model in ("default", "sandbox/echo")
    )
    assert default[0] == named[0]
    assert default[1] != named[1]


def test_the_order_within_an_object_is_part_of_the_question() -> None:
    """A model writes an object in the order of its schema."""
    schemas = [{"type": "object", "properties": {name: {} for name in names}} for names in ("ab", "ba")]
    one, other = (of_chat(response_format={"type": "json_schema", "json_schema": schema}) for schema in schemas)
    assert question(one) != question(other)


@pytest.mark.parametrize(
    ("change", "cache", "applies"),
    [
        ({"temperature": 0}, None, True),
        ({"temperature": 0.0}, None, True),
        ({"temperature": None, "seed": 0}, None, True),
        ({"temperature": 1, "seed": 5}, None, True),
        ({"temperature": None}, None, False),
        ({"temperature": 0.1}, None, False),
        ({"temperature": None}, Cache.USE, True),
        ({"temperature": None}, Cache.REFRESH, True),
        ({"temperature": 0}, Cache.OFF, False),
    ],
)
def test_when_an_answer_may_be_shared(change: dict[str, Any], cache: Cache | None, applies: bool) -> None:
    fields = ("question", "asked_of", "cache_for_s", "flight")
    said = submitted(replace(of_chat(**change), cache=cache), *fields)
    assert [value is not None for value in said] == [applies] * 4


def test_embeddings_are_shared_unless_the_job_says_otherwise() -> None:
    assert question(embedding()) is not None
    assert question(replace(embedding(), cache=Cache.OFF)) is None


def test_without_a_time_to_keep_them_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, TANDEM_CACHE_TTL_S="0")
    assert question(replace(ASKED, cache=Cache.USE)) is None


def test_an_answer_is_kept_no_longer_than_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert submitted(ASKED, "cache_for_s", "asked_of") == ["86400", "sandbox sandbox/echo"]
    be(monkeypatch, TANDEM_JOB_TTL_S="50")
    assert submitted(ASKED, "cache_for_s") == ["50"]


def test_owners_share_only_when_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def both() -> set[str | None]:
        return {question(replace(ASKED, owner=owner)) for owner in ("o", "shared")}

    assert len(both()) == 2
    be(monkeypatch, TANDEM_CACHE_SHARED="1")
    assert len(both()) == 1


def test_where_an_answer_comes_from_is_part_of_the_question(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    entry = '[[model]]\nid = "sandbox/echo"\nabilities = ["chat", "vision"]\n'
    own.write_text(entry)
    plainly = question(ASKED)
    be(monkeypatch, TANDEM_CATALOG=str(own))
    listed = question(ASKED)
    own.write_text(entry + "sampling = {temperature = 0.5}")
    be(monkeypatch)
    sampled = question(ASKED)
    be(monkeypatch, TANDEM_SANDBOX_URL="http://127.0.0.1:10/v1")
    assert len({plainly, listed, sampled, question(ASKED)}) == 4


def test_what_a_model_is_shown_of_an_image_is_part_of_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, text = question(of_message(SEEN)), question(ASKED)
    be(monkeypatch, TANDEM_IMAGE_EDGE="16")
    assert question(of_message(SEEN)) != shown
    assert question(ASKED) == text


def test_the_house_and_a_provider_never_share(monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    fleet.default().hello(Worker(name="g1", queues="gpu", state="ready", model="tiny-chat"))
    at_home = replace(ASKED, model="default", mode=Mode.GPU)
    home, hosted = (submitted(replace(at_home, mode=mode), "question", "asked_of") for mode in (Mode.GPU, Mode.API))
    assert home[1] == "vllm tiny-chat"
    assert hosted[1].startswith("nim ")
    assert home[0] != hosted[0]
    assert question(replace(at_home, mode=Mode.AUTO)) == home[0]


def test_a_simulated_answer_is_never_a_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model by the same name: what the sandbox said for it is not what the provider would."""
    asked = replace(ASKED, model="nvidia/nemotron-3-nano-30b-a3b")
    simulated = question(asked)
    be(monkeypatch, NVIDIA_API_KEY="nvapi-x")
    assert question(asked) not in (None, simulated)


def test_the_default_at_home_is_what_its_workers_serve() -> None:
    asked = replace(ASKED, model="default", mode=Mode.GPU)
    fleet.default().hello(Worker(name="g1", queues="gpu", state="ready", model="acme/one"))
    assert submitted(asked, "asked_of") == ["vllm acme/one"]
    fleet.default().hello(Worker(name="g2", queues="gpu", state="ready", model="acme/two"))
    assert submitted(asked, "asked_of") == ["vllm tiny-chat"], "nobody knows who will take it"
