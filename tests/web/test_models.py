"""`/models`: what is known, what was learned, who serves it; and what becomes of a job for a retired one."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tasks.domain.standing import Lesson, State
from tasks.store import fleet, learned
from tasks.store.fleet import Worker
from tests.support.valkey import Valkey
from tests.web.conftest import MakeClient

NANO = "nvidia/nemotron-3-nano-30b-a3b"
VL = "nvidia/nemotron-nano-12b-v2-vl"
RETIRED = Lesson(state=State.RETIRED, retired_on="2025-11-30", why="nim has retired it on 2025-11-30")
BOTH = {"NVIDIA_API_KEY": "nvapi-x", "OPENROUTER_API_KEY": "sk-or-x", "TANDEM_SANDBOX_URL": ""}


def get(client: FlaskClient, name: str) -> dict[str, Any]:
    answer = client.get(f"/models/{name}")
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def test_all_models_are_listed_nims_first(make_client: MakeClient) -> None:
    listed = make_client(**BOTH).get("/models").get_json()
    assert listed["object"] == "list"
    ids = [model["id"] for model in listed["data"]]
    assert len(ids) == len(set(ids)) == 42
    assert ids[39:] == ["tiny-chat", "tiny-vl", "tiny-embed"]


def test_a_model_says_what_is_known_of_it(make_client: MakeClient) -> None:
    client = make_client(**BOTH)
    model = get(client, VL)
    assert model["abilities"] == ["chat", "reasoning", "vision"]
    assert (model["object"], model["context"], model["reasoning"]) == ("model", 131072, "/think")
    assert f"{VL}:free" in model["aliases"]
    assert [(one["provider"], one["id"]) for one in model["providers"]] == [("nim", VL), ("openrouter", f"{VL}:free")]
    assert (model["state"], model["last_checked"], model["workers"]) == ("unknown", None, [])
    assert get(client, "nvidia/nv-embedqa-e5-v5")["dimensions"] == 1024
    assert get(client, "bigcode/starcoder2-15b")["completions"] is True


@pytest.mark.parametrize("name", ["mistralai/mistral-large-3-675b", "mistralai%2Fmistral-large-3-675b"])
def test_an_alias_finds_the_model(client: FlaskClient, name: str) -> None:
    assert get(client, name)["id"] == "mistralai/mistral-large-3-675b-instruct-2512"


@pytest.mark.parametrize("state", [State.CALLABLE, State.NOT_ENTITLED, State.OVERLOADED])
def test_a_model_says_what_was_learned_of_it(make_client: MakeClient, state: State) -> None:
    client = make_client(**BOTH)
    learned.default().note("nim", NANO, Lesson(state=state))
    model = get(client, NANO)
    assert (model["state"], model["retired_on"]) == (state, None)
    assert model["last_checked"] == model["providers"][0]["last_checked"] is not None


def test_one_provider_that_answers_is_enough(make_client: MakeClient) -> None:
    client = make_client(**BOTH)
    learned.default().note("nim", VL, RETIRED)
    learned.default().note("openrouter", f"{VL}:free", Lesson(state=State.CALLABLE))
    model = get(client, VL)
    assert (model["state"], model["retired_on"]) == ("callable", None)
    assert [(one["state"], one["retired_on"]) for one in model["providers"]] == [
        ("retired", "2025-11-30"),
        ("callable", None),
    ]


def test_live_gpu_workers_are_named_by_whatever_name_they_serve(client: FlaskClient) -> None:
    fleet.default().hello(Worker(name="g1", queues="gpu", state="ready", model="Qwen/QwQ-32B", device="GPU-1"))
    fleet.default().hello(Worker(name="g2", queues="gpu", state="loading", model="acme/own", device="GPU-2"))
    fleet.default().hello(Worker(name="a1", queues="api", state="ready"))
    model = get(client, "qwen/qwq-32b")
    assert [(one["name"], one["state"], one["device"]) for one in model["workers"]] == [("g1", "ready", "GPU-1")]
    assert model["state"] == "callable"
    own = get(client, "acme/own")
    assert (own["state"], own["abilities"], [one["name"] for one in own["workers"]]) == ("unknown", [], ["g2"])
    assert client.get("/models").get_json()["data"][-1]["id"] == "acme/own"


def test_what_only_a_provider_lists_is_shown_and_can_be_asked_for(make_client: MakeClient) -> None:
    client = make_client(**BOTH)
    learned.default().keep_list("nim", [NANO, "acme/new"])
    new = client.get("/models").get_json()["data"][-1]
    assert (new["id"], new["abilities"], new["state"]) == ("acme/new", [], "unknown")
    assert new["last_checked"] is not None
    assert [(one["provider"], one["listed"]) for one in new["providers"]] == [("nim", True)]
    assert get(client, "acme/new") == new
    assert get(client, NANO)["providers"][0]["listed"] is True
    assert get(client, VL)["providers"][0]["listed"] is False
    for mode in ("api", "auto"):
        assert client.post("/jobs", json={"prompt": "hi", "model": "acme/new", "mode": mode}).status_code == 202


def test_an_unknown_model_is_404_with_near_matches(client: FlaskClient) -> None:
    learned.default().keep_list("sandbox", ["acme/very-new"])
    for name, near in (("nvidia/nemotron-3-nano-30b", NANO), ("acme/very-ne", "acme/very-new")):
        for answer in (client.get(f"/models/{name}"), client.post("/jobs", json={"prompt": "hi", "model": name})):
            assert (answer.status_code, answer.get_json()["type"]) == (404, "urn:tandem:problem:unknown-model")
            assert near in answer.get_json()["near"]


@pytest.mark.parametrize("name", [NANO, "default"])
def test_a_retired_model_takes_no_jobs(client: FlaskClient, valkey: Valkey, name: str) -> None:
    learned.default().note("sandbox", NANO, RETIRED)
    answer = client.post("/jobs", json={"prompt": "hi", "model": name})
    body = answer.get_json()
    assert (answer.status_code, body["type"]) == (422, "urn:tandem:problem:model-retired")
    assert list(body["errors"]) == ["model"]
    assert name in body["detail"]
    assert "2025-11-30" in body["detail"]
    assert client.get("/jobs").get_json()["data"] == []
    model = get(client, NANO)
    assert (model["state"], model["retired_on"]) == ("retired", "2025-11-30")


def test_models_are_for_those_with_a_key(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one")
    for path in ("/models", f"/models/{NANO}"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer one"}).status_code == 200
