"""`GET /limits`, and requests that are larger than a minute's budget."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import limits as door
from tasks import serving, settings
from tasks.providers.sandbox.thread import SandboxThread
from tasks.store import jobs, keys, learned
from tasks.store.claim import Taker
from tests.support.valkey import Valkey
from tests.web.conftest import SANDBOX, MakeClient


def limits(make_client: MakeClient, **env: str) -> list[dict[str, Any]]:
    return list(make_client(**env).get("/limits").get_json()["data"])


def test_what_is_not_limited_is_listed_without_limits(make_client: MakeClient) -> None:
    [sandbox] = limits(make_client)
    assert (sandbox["provider"], sandbox["model"]) == ("sandbox", None)
    assert set(sandbox["configured"].values()) == set(sandbox["left"].values()) == {None}
    assert set(sandbox["used"].values()) == {0}
    assert (sandbox["learned"], sandbox["held_until"], sandbox["waiting"]) == (None, None, 0)


def test_the_default_limits_of_providers(make_client: MakeClient) -> None:
    nim, openrouter = limits(make_client, NVIDIA_API_KEY="nvapi-x", OPENROUTER_API_KEY="sk-or-x")
    assert nim["configured"] == {"requests": 30, "tokens": None, "requests_per_day": None, "concurrent": None}
    assert nim["guessed"]
    assert openrouter["configured"] == {"requests": 10, "tokens": 1000, "requests_per_day": 50, "concurrent": None}
    assert not openrouter["guessed"]


def test_what_is_used_and_left_and_held(make_client: MakeClient, valkey: Valkey) -> None:
    client = make_client(TANDEM_SANDBOX_RPM="2", TANDEM_SANDBOX_TPM="500")
    posts = [client.post("/jobs", json={"prompt": "hi", "max_tokens": 100}).get_json()["id"] for _ in range(3)]
    for job_id in posts:
        servings = [("api.sandbox", "sandbox", "m")]
        jobs.default().take(job_id, 0, Taker(worker="w", lease_s=9, may_isolate=True, servings=servings))
    valkey.client.hset("tandem:limit:sandbox", mapping={"learned": 2, "learned_at": 1_700_000_000_000})
    [sandbox] = client.get("/limits").get_json()["data"]
    assert (sandbox["used"]["requests"], sandbox["left"]["requests"], sandbox["waiting"]) == (2, 0, 1)
    assert sandbox["used"]["tokens"] == 2 * 105
    assert sandbox["learned"] == {"requests": 2, "at": "2023-11-14T22:13:20.000Z"}
    waits = client.get(f"/jobs/{posts[2]}").get_json()["waiting_on"]
    assert waits["reason"] == "rate_limit"
    assert waits["until"] is not None


def test_limits_of_a_model_are_listed_with_it(make_client: MakeClient) -> None:
    own = '{"sandbox:sandbox/echo": {"rpm": 5}, "nim:x": {"rpm": 1}}'
    found = limits(make_client, TANDEM_MODEL_LIMITS=own)
    assert [(one["provider"], one["model"]) for one in found] == [("sandbox", None), ("sandbox", "sandbox/echo")]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "hi", "max_tokens": 2000}, "max_tokens"),
        ({"prompt": "word " * 1000}, "messages"),
    ],
)
def test_more_than_a_minutes_tokens_is_refused(make_client: MakeClient, body: dict[str, Any], field: str) -> None:
    client = make_client(OPENROUTER_API_KEY="sk-or-x", TANDEM_SANDBOX_URL=SANDBOX)
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 422
    assert field in answer.get_json()["errors"]
    assert client.post("/jobs", json={"prompt": "hi", "max_tokens": 900}).status_code == 202


def test_too_many_texts_to_embed_are_refused_by_their_own_field(make_client: MakeClient) -> None:
    client = make_client(TANDEM_SANDBOX_TPM="500")
    answer = client.post("/jobs", json={"model": "sandbox/echo", "input": ["word " * 200] * 5})
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["input"])


def test_circuits_are_shown_of_models_that_may_be_named(make_client: MakeClient, valkey: Valkey) -> None:
    """Not of a provider whose key is gone, nor of a model that nobody here knows of."""
    known = "nvidia/nemotron-3-nano-30b-a3b"
    names = [f"nim:{known}", "nim:acme/listed", "nim:acme/of-another", "openrouter:acme/x:free", "vllm:tiny-chat"]
    for name in names:
        opened: dict[Any, Any] = {"until": 32503680000000, "opened_at": 1_700_000_000_000, "opens": 1, "failures": 5}
        valkey.client.hset(keys.circuit(name), mapping=opened)
        valkey.client.sadd(keys.CIRCUITS, name)
    client = make_client(NVIDIA_API_KEY="nvapi-x")
    learned.default().keep_list("nim", frozenset({"acme/listed"}))
    shown = {(one["provider"], one["model"]) for one in client.get("/limits").get_json()["circuits"]}
    assert shown == {("nim", known), ("nim", "acme/listed"), ("vllm", "tiny-chat")}


def test_a_key_is_asked_for(make_client: MakeClient) -> None:
    assert make_client(TANDEM_API_KEYS="ann:one").get("/limits").status_code == 401


def test_what_openrouter_says_of_its_key_is_shown_without_its_label(make_client: MakeClient) -> None:
    with SandboxThread() as sandbox:
        env = {"OPENROUTER_API_KEY": "sk-or-x", "OPENROUTER_BASE_URL": f"{sandbox.url}/openrouter/api/v1"}
        client = make_client(**env)
        door.ask_providers(serving.hosted(settings.get()))
        [openrouter] = client.get("/limits").get_json()["data"]
    assert openrouter["reported"]["limit_remaining"] == 4.5
    assert "label" not in openrouter["reported"]
