"""What is remembered of models, and what becomes of jobs whose model is retired."""

from __future__ import annotations

import pytest

from tasks import dispatch
from tasks.domain.errors import ModelGone
from tasks.domain.job import Job, Kind, Mode, Status, Submission
from tasks.domain.request import ChatRequest, Message
from tasks.domain.standing import Lesson, State
from tasks.store import jobs, keys, learned
from tasks.store.claim import Claim, Taker
from tests.conftest import forget_caches
from tests.support.valkey import Valkey

NANO, OTHER = "nvidia/nemotron-3-nano-30b-a3b", "qwen/qwq-32b"
RETIRED = Lesson(state=State.RETIRED, retired_on="2025-11-30", why="nim has retired it on 2025-11-30")
HELLO = ChatRequest(messages=(Message(role="user", content="hi"),))
SERVINGS = [("api", "nim", NANO)]


@pytest.fixture(autouse=True)
def _nim(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-x")
    forget_caches()


def submit(model: str = NANO, key: str | None = None) -> str:
    asked = Submission(owner="o", kind=Kind.CHAT, mode=Mode.API, model=model, request=HELLO,
                       expires_in_s=60, idempotency_key=key)  # fmt: skip
    return dispatch.submit(asked)[0].id


def claim(job_id: str) -> Claim | None:
    return jobs.default().take(job_id, 0, Taker(worker="w", lease_s=5, may_isolate=True, servings=SERVINGS)).claim


def fail_queued() -> int:
    return learned.default().fail_queued("nim", NANO, queue="api", is_default=True)


def found(job_id: str) -> Job:
    return dispatch.find(job_id, "o")


def test_a_lesson_is_remembered_with_its_time() -> None:
    assert learned.default().note("nim", NANO, RETIRED)
    standing = learned.default().standings("nim")[NANO]
    assert (standing.state, standing.retired_on) == (State.RETIRED, "2025-11-30")
    assert standing.checked_at is not None
    assert learned.default().standings("openrouter") == {}


def test_the_same_lesson_again_costs_no_write_and_a_new_one_does() -> None:
    callable_, overloaded = Lesson(state=State.CALLABLE), Lesson(state=State.OVERLOADED)
    lessons = [callable_, callable_, overloaded, overloaded, callable_]
    assert [learned.default().note("nim", NANO, lesson) for lesson in lessons] == [True, False, True, False, True]
    assert learned.default().standings("nim")[NANO].state is State.CALLABLE


def test_there_is_an_end_to_the_names_that_are_remembered(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MOST_NAMES", 3)
    for number in range(5):
        learned.default().note("sandbox", f"sandbox/tokens-{number}", RETIRED)
    assert len(learned.default().standings("sandbox")) == 3
    assert learned.default().why_retired("sandbox", "sandbox/tokens-4") is not None
    assert 0 < int(str(valkey.client.ttl(keys.retired("sandbox", "sandbox/tokens-4")))) <= 24 * 3600


@pytest.mark.parametrize("model", [NANO, "default"])
def test_a_job_for_a_retired_model_is_not_accepted(valkey: Valkey, model: str) -> None:
    learned.default().note("nim", NANO, RETIRED)
    before = valkey.client.dbsize()
    with pytest.raises(ModelGone) as refused:
        submit(model, key="k")
    assert refused.value.field == "model"
    assert model in refused.value.message
    assert "2025-11-30" in refused.value.message
    assert valkey.client.dbsize() == before
    assert found(submit(OTHER, key="k")).status is Status.PENDING


def test_an_accepted_job_is_still_found_by_its_key() -> None:
    job_id = submit(key="k")
    learned.default().note("nim", NANO, RETIRED)
    assert submit(key="k") == job_id


@pytest.mark.parametrize("model", [NANO, "default"])
def test_a_queued_job_fails_before_any_call(valkey: Valkey, model: str) -> None:
    job_id = submit(model)
    learned.default().note("nim", NANO, RETIRED)
    assert claim(job_id) is None
    job = found(job_id)
    assert (job.status, job.attempts) == (Status.FAILED, ())
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("model_retired", RETIRED.why)
    assert valkey.client.zcard(keys.DUE) == valkey.client.zcard(keys.waiting("api", 0)) == 0


def test_all_that_wait_for_it_fail_at_once_and_others_stay(valkey: Valkey) -> None:
    mine = [submit(model) for model in (NANO, "default") for _ in range(700)]
    others = [submit(OTHER) for _ in range(3)]
    parked = submit()
    held = claim(submit(OTHER))
    assert held is not None
    jobs.default().put_back(held, outcome="rate_limited", reason="", limit="nim", hold_s=20)
    assert claim(parked) is None
    assert found(parked).waiting_on is not None
    learned.default().note("nim", NANO, RETIRED)
    assert fail_queued() == len(mine) + 1
    assert {found(job_id).status for job_id in [*mine, parked]} == {Status.FAILED}
    assert {found(job_id).status for job_id in [*others, held.job_id]} == {Status.PENDING}
    assert valkey.client.zcard(keys.parked("nim")) == 1
    assert fail_queued() == 0


def test_a_model_that_answers_again_is_taken_again() -> None:
    learned.default().note("nim", NANO, RETIRED)
    learned.default().note("nim", NANO, Lesson(state=State.CALLABLE))
    assert claim(submit()) is not None
    assert fail_queued() == 0


def test_what_one_provider_has_retired_another_may_serve(monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-x")
    forget_caches()
    vision = "nvidia/nemotron-nano-12b-v2-vl"
    learned.default().note("nim", vision, RETIRED)
    assert valkey.client.hget(keys.job(submit(vision)), "queue") == "api.openrouter"
    learned.default().note("openrouter", f"{vision}:free", RETIRED)
    with pytest.raises(ModelGone):
        submit(vision)


def test_one_worker_at_a_time_asks_for_a_list(valkey: Valkey) -> None:
    here = learned.default()
    assert [here.may_list("nim", 3600), here.may_list("nim", 3600), here.may_list("openrouter", 3600)] == [1, 0, 1]
    here.list_again("nim", 60)
    assert 0 < int(str(valkey.client.ttl(keys.listing("nim")))) <= 60
    assert here.listing("nim") is None
    here.keep_list("nim", ["b", "a"])
    listing = here.listing("nim")
    assert listing is not None
    assert listing.ids == {"a", "b"}
