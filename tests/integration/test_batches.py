"""Batches through real workers: taken in, carried, counted, read, ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.batch import item_id
from tasks.store import keys
from tests.images.pictures import asking, data_url, plain
from tests.support import batch
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

#: How many of some records are in hand, at one moment.
PROCESSING = """
local n = 0
for _, key in ipairs(KEYS) do if redis.call("HGET", key, "status") == "processing" then n = n + 1 end end
return n
"""


def items(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"custom_id": f"item-{n}", "prompt": f"question {n}", **fields} for n in range(count)]


def kept_of(service: Service, batch_id: str) -> list[str]:
    """What Redis has of a batch beside its steps, which lapse, and the word that it was erased."""
    found = service.valkey.client.keys(f"tandem:*{batch_id.removeprefix('batch_')}*")
    return sorted(str(key) for key in found if ":erased:" not in str(key) and ":job:step_" not in str(key))


def test_every_item_has_one_outcome_and_its_answer(service: Service) -> None:
    batch_id = batch.submit(service, items(250, model="sandbox/tokens-2"), metadata={"for": "me"})
    found = batch.ended(service, batch_id)
    assert (found["status"], found["counts"]["completed"], found["progress"]) == ("completed", 250, 1.0)
    assert found["queues"] == {"api.sandbox": 250}
    assert (found["metadata"], found["usage"]["completion_tokens"]) == ({"for": "me"}, 500)
    results = batch.read(service, batch_id, "results")
    assert sorted(line["custom_id"] for line in results) == sorted(f"item-{n}" for n in range(250))
    assert len({line["id"] for line in results}) == 250
    assert service.job(results[0]["id"])["result"] == results[0]["result"]
    assert batch.read(service, batch_id, "errors") == []


def test_json_and_lines_and_defaults_mean_the_same(service: Service) -> None:
    body = {"items": [{"custom_id": "a", "prompt": "one two"}], "defaults": {"model": "sandbox/tokens-3"}}
    answer = service.http.post(f"{service.url}/batches", json=body, timeout=10)
    assert answer.status_code == 202, answer.text
    as_lines = batch.submit(service, [{"custom_id": "a", "prompt": "one two"}], defaults={"model": "sandbox/tokens-3"})
    for batch_id in (answer.json()["id"], as_lines):
        assert batch.ended(service, batch_id)["usage"]["completion_tokens"] == 3


def test_items_that_fail_are_told_apart_and_harm_no_other(service: Service) -> None:
    mixed = [*items(20, model="sandbox/tokens-1"), {"custom_id": "bad", "prompt": "x", "model": "sandbox/status-400"}]
    batch_id = batch.submit(service, mixed)
    found = batch.ended(service, batch_id)
    assert (found["status"], found["counts"]["completed"], found["counts"]["failed"]) == ("completed", 20, 1)
    [error] = batch.read(service, batch_id, "errors")
    assert (error["custom_id"], error["status"]) == ("bad", "failed")
    page = service.http.get(f"{service.url}/batches/{batch_id}/items", params={"status": "failed"}, timeout=10).json()
    assert [(item["custom_id"], item["line"]) for item in page["data"]] == [("bad", 21)]
    assert page["last_id"] == page["data"][0]["id"]
    behind = {"after": page["last_id"].replace("-21", "-20")}
    rest = service.http.get(f"{service.url}/batches/{batch_id}/items", params=behind, timeout=10).json()
    assert [item["line"] for item in rest["data"]] == [21]


def test_all_items_or_none_unless_invalid_ones_are_skipped(service: Service) -> None:
    mixed = [*items(3), {"custom_id": "hot", "prompt": "x", "temperature": 9}, {"custom_id": "item-0", "prompt": "x"}]
    rejected = batch.ended(service, batch.submit(service, mixed))
    assert (rejected["status"], rejected["error"]["code"]) == ("failed", "invalid_items")
    assert (rejected["counts"]["invalid"], rejected["counts"]["cancelled"]) == (2, 3)
    skipped = batch.submit(service, mixed, on_invalid="skip")
    found = batch.ended(service, skipped)
    assert (found["status"], found["counts"]["completed"], found["counts"]["invalid"]) == ("completed", 3, 2)
    for batch_id in (rejected["id"], skipped):
        wrong = {(line["line"], line["error"]["field"]) for line in batch.read(service, batch_id, "errors")}
        assert wrong == {(4, "temperature"), (5, "custom_id")}
    assert service.valkey.client.keys(f"tandem:job:job_{rejected['id'].removeprefix('batch_')}-*") == []


def test_a_batch_stops_after_too_many_failures(service: Service) -> None:
    bad = items(30, model="sandbox/status-400") + items(2000, model="sandbox/slow-200ms")[30:]
    batch_id = batch.submit(service, bad, on_item_failure={"threshold": 0.01})
    found = batch.ended(service, batch_id)
    assert (found["status"], found["error"]["code"]) == ("failed", "too_many_failures")
    assert found["counts"]["cancelled"] > 0
    assert found["counts"]["failed"] >= 20


def test_cancelling_keeps_what_is_done(service: Service) -> None:
    batch_id = batch.submit(service, items(2000, model="sandbox/slow-100ms"))
    until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= 50, within_s=30)
    assert batch.act(service, batch_id, "cancel").json()["status"] in ("cancelling", "cancelled")
    found = batch.ended(service, batch_id, within_s=10)
    assert found["status"] == "cancelled"
    assert found["counts"]["completed"] >= 50
    assert found["counts"]["completed"] + found["counts"]["cancelled"] == 2000
    assert len(batch.read(service, batch_id, "results")) == found["counts"]["completed"]


def test_only_what_has_no_answer_is_run_again(service: Service) -> None:
    some = items(40, model="sandbox/tokens-1") + [
        {"custom_id": f"late-{n}", "prompt": "x", "model": "sandbox/slow-60000ms"} for n in range(5)
    ]
    batch_id = batch.submit(service, some)
    until(lambda: batch.get(service, batch_id)["counts"]["completed"] == 40, within_s=30)
    assert batch.act(service, batch_id, "retry").status_code == 409
    batch.act(service, batch_id, "cancel")
    assert batch.ended(service, batch_id)["counts"]["cancelled"] == 5
    before = {line["custom_id"]: line for line in batch.read(service, batch_id, "results")}
    again = batch.act(service, batch_id, "retry")
    assert (again.status_code, again.json()["round"]) == (202, 2)
    until(lambda: batch.get(service, batch_id)["status"] == "in_progress", within_s=10)
    begun = batch.get(service, batch_id)
    assert (begun["eta"], begun["estimating"]) == (None, True), "told from the round before"
    assert begun["counts"] == {
        "pending": 5, "completed": 40, "failed": 0, "cancelled": 0, "expired": 0, "invalid": 0,
    }  # fmt: skip
    batch.act(service, batch_id, "cancel")
    assert batch.ended(service, batch_id)["counts"]["cancelled"] == 5
    assert {line["custom_id"]: line for line in batch.read(service, batch_id, "results")} == before


def test_a_round_may_complete_what_failed(service: Service) -> None:
    batch_id = batch.submit(service, items(10, model="sandbox/times-1+status-400"))
    assert batch.ended(service, batch_id)["counts"]["failed"] == 10
    assert batch.act(service, batch_id, "retry").status_code == 202
    assert batch.ended(service, batch_id)["counts"]["completed"] == 10
    assert batch.act(service, batch_id, "retry").status_code == 422


def test_a_pause_begins_nothing_and_resuming_goes_on(service: Service) -> None:
    batch_id = batch.submit(service, items(1500, model="sandbox/slow-50ms"))
    until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= 100, within_s=30)
    assert batch.act(service, batch_id, "pause").json()["paused"] is True
    done = -1

    def rests() -> bool:
        nonlocal done
        before, done = done, batch.get(service, batch_id)["counts"]["completed"]
        return bool(before == done)

    until(rests, within_s=20, every_s=1.0)
    assert done < 1500
    rests_at = batch.get(service, batch_id)
    assert (rests_at["eta"], rests_at["estimating"]) == (None, False)
    assert batch.act(service, batch_id, "resume").json()["paused"] is False
    assert batch.ended(service, batch_id)["counts"]["completed"] == 1500


def test_results_can_be_read_while_it_runs(service: Service) -> None:
    batch_id = batch.submit(service, items(1000, model="sandbox/slow-100ms"))
    until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= 100, within_s=30)
    answer = service.http.get(f"{service.url}/batches/{batch_id}/results", timeout=10)
    assert answer.headers["Tandem-Incomplete"] == "true"
    assert len(answer.text.splitlines()) >= 100
    found = batch.get(service, batch_id)
    assert found["eta"] is not None or found["counts"]["pending"] == 0
    batch.ended(service, batch_id)
    answer = service.http.get(f"{service.url}/batches/{batch_id}/results", timeout=10)
    assert "Tandem-Incomplete" not in answer.headers
    assert len({json.loads(line)["custom_id"] for line in answer.text.splitlines()}) == 1000


def test_what_is_left_at_the_deadline_expires(service: Service) -> None:
    batch_id = batch.submit(service, items(2000, model="sandbox/slow-500ms"), expires_in_s=4)
    found = batch.ended(service, batch_id, within_s=20)
    assert found["status"] == "expired"
    assert found["counts"]["expired"] > 0
    assert found["counts"]["completed"] > 0


def test_a_key_used_again_is_the_same_batch(service: Service) -> None:
    first = batch.upload(service, batch.ndjson(items(3)), idempotency_key="batch-key")
    again = batch.upload(service, batch.ndjson(items(3)), idempotency_key="batch-key")
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    other = batch.upload(service, batch.ndjson(items(4)), idempotency_key="batch-key")
    assert (other.status_code, list(other.json()["errors"])) == (422, ["idempotency_key"])
    chunks = [key for key in service.valkey.client.keys("tandem:batch:*:chunk:*") if first.json()["id"] not in key]
    assert chunks == []


def test_an_erased_batch_leaves_nothing(service: Service) -> None:
    batch_id = batch.submit(service, items(500, model="sandbox/slow-200ms"))
    until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= 10, within_s=30)
    url = f"{service.url}/batches/{batch_id}"
    assert service.http.delete(url, timeout=10).status_code == 204
    assert service.http.get(url, timeout=10).status_code == 404
    assert service.http.delete(url, timeout=10).status_code == 204
    until(lambda: not kept_of(service, batch_id), within_s=15, what="nothing of it being left")


def test_a_batch_that_waits_for_an_engine_can_be_cancelled_and_begun_anew(service: Service) -> None:
    batch_id = batch.submit(service, items(250, mode="gpu"))
    assert batch.act(service, batch_id, "cancel").status_code == 200
    found = batch.ended(service, batch_id, within_s=20)
    assert (found["status"], found["counts"]["cancelled"]) == ("cancelled", 250)
    assert len(batch.read(service, batch_id, "errors")) == 250
    assert service.valkey.client.keys(f"tandem:batch:{batch_id}:chunk:*") == []
    assert batch.act(service, batch_id, "retry").status_code == 202
    until(lambda: batch.get(service, batch_id)["counts"]["pending"] == 250, within_s=10)
    assert batch.act(service, batch_id, "cancel").status_code == 200
    assert batch.ended(service, batch_id, within_s=20)["counts"]["cancelled"] == 250


def test_a_batch_that_waits_for_an_engine_can_be_erased(service: Service) -> None:
    batch_id = batch.submit(service, [*items(250), *items(250, mode="gpu")])
    assert service.http.delete(f"{service.url}/batches/{batch_id}", timeout=10).status_code == 204
    until(lambda: not kept_of(service, batch_id), within_s=15, what="nothing of it being left")


def test_a_batch_that_nobody_was_there_for_expires(service: Service) -> None:
    found = batch.ended(service, batch.submit(service, items(150, mode="gpu"), expires_in_s=1), within_s=20)
    assert (found["status"], found["counts"]["expired"]) == ("expired", 150)
    told = batch.read(service, found["id"], "errors")
    assert {(line["status"], line["error"]["code"]) for line in told} == {("expired", "deadline_exceeded")}


def test_batches_are_listed_newest_first(service: Service) -> None:
    made = [batch.submit(service, items(1)) for _ in range(3)]
    page = service.http.get(f"{service.url}/batches", params={"limit": 2}, timeout=10).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (made[:0:-1], True)
    page = service.http.get(f"{service.url}/batches?limit=1&after={made[1]}", timeout=10).json()
    assert [one["id"] for one in page["data"]] == made[:1]


@pytest.mark.parametrize("what", ["", "/items", "/results", "/errors"])
def test_an_unknown_batch_is_not_found(service: Service, what: str) -> None:
    assert service.http.get(f"{service.url}/batches/batch_none{what}", timeout=10).status_code == 404


def test_items_that_ask_the_same_share_one_answer(service: Service) -> None:
    alike = [{"custom_id": f"same-{n}", "prompt": "the one question", "temperature": 0} for n in range(150)]
    first = batch.ended(service, batch.submit(service, alike, defaults={"model": "sandbox/slow-300ms"}))
    assert (first["counts"]["completed"], first["coalesced"], first["cached"]) == (150, 149, 0)
    assert first["queues"] == {"api.sandbox": 1}
    second = batch.ended(service, batch.submit(service, alike, defaults={"model": "sandbox/slow-300ms"}))
    assert (second["counts"]["completed"], second["coalesced"], second["cached"]) == (150, 0, 150)
    assert second["queues"] == {}
    assert second["usage"] is None
    answers = {line["result"]["content"] for line in batch.read(service, second["id"], "results")}
    assert len(answers) == 1


def test_a_job_is_run_over_the_results_once(service: Service) -> None:
    items_ = [{"custom_id": f"c{n}", "prompt": f"part {n}"} for n in range(120)]
    items_.append({"custom_id": "bad", "prompt": "x", "model": "sandbox/status-400"})
    reduce = {"prompt": "{{completed}} of {{total}}:{{#results}} {{custom_id}}={{status}}{{/results}}", "mode": "api"}
    answer = service.http.post(
        f"{service.url}/batches", json={"items": items_, "on_complete": reduce, "metadata": {"a": "b"}}, timeout=10
    )
    assert answer.status_code == 202, answer.text
    found = batch.ended(service, answer.json()["id"])
    last = found["on_complete"]
    assert (found["status"], found["counts"]["completed"], last["status"]) == ("completed", 120, "completed")
    assert "120 of 121:" in last["result"]["content"]
    assert "c0=completed c1=completed" in last["result"]["content"]
    listed = service.http.get(f"{service.url}/batches", params={"limit": 1}, timeout=10).json()["data"]
    assert [(one["id"], one["on_complete"]) for one in listed] == [(found["id"], last)]
    assert len([c for c in calls(service.sandbox_log) if (c["job_id"], c["event"]) == (last["job_id"], "arrived")]) == 1


def test_the_results_are_counted_as_the_batch_counts_them(service: Service) -> None:
    mixed = [
        {"custom_id": "bad", "prompt": "x", "model": "sandbox/status-400"},
        *items(400, model="sandbox/slow-300ms"),
    ]
    reduce = {"prompt": "f={{failed}} c={{cancelled}} e={{expired}} ok={{completed}}.", "model": "sandbox/echo"}
    found = batch.ended(service, batch.submit(service, mixed, on_item_failure="stop", on_complete=reduce))
    counts = found["counts"]
    assert (counts["failed"], counts["cancelled"] > 0) == (1, True)
    said = f"f=1 c={counts['cancelled']} e=0 ok={counts['completed']}."
    assert said in found["on_complete"]["result"]["content"]


def test_what_comes_of_the_results_is_told_when_it_fails(service: Service) -> None:
    for reduce, code in (
        ({"prompt": "sum {{total}}", "model": "sandbox/status-400"}, "bad_request"),
        ({"prompt": "{{#results}}" + "x" * 100_000 + "{{/results}}"}, "invalid_request"),
    ):
        body = {"items": items(150), "on_complete": reduce}
        answer = service.http.post(f"{service.url}/batches", json=body, timeout=10)
        found = batch.ended(service, answer.json()["id"])
        assert (found["status"], found["counts"]["completed"]) == ("completed", 150)
        assert found["on_complete"]["error"]["code"] == code


def test_the_job_over_the_results_ends_with_its_batch(service: Service) -> None:
    reduce = {"prompt": "sum {{total}}", "model": "sandbox/slow-60000ms"}
    batch_id = batch.submit(service, items(20, model="sandbox/tokens-1"), on_complete=reduce)
    until(lambda: (batch.get(service, batch_id)["on_complete"] or {})["status"] == "processing", within_s=15)
    assert batch.act(service, batch_id, "cancel").status_code == 200
    found = batch.ended(service, batch_id, within_s=10)
    assert (found["status"], found["on_complete"]["status"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize("reduce", [{"mode": "gpu"}, {"model": "sandbox/slow-60000ms"}])
def test_a_batch_waits_for_the_job_over_its_results_until_its_deadline(
    service: Service, reduce: dict[str, str]
) -> None:
    options = {"on_complete": {"prompt": "sum {{total}}", **reduce}, "expires_in_s": 5}
    found = batch.ended(service, batch.submit(service, items(5, model="sandbox/tokens-1"), **options), within_s=15)
    assert (found["status"], found["counts"]["completed"]) == ("completed", 5)
    assert found["on_complete"]["error"]["code"] == "deadline_exceeded"


def erased(service: Service, batch_id: str) -> None:
    assert service.http.delete(f"{service.url}/batches/{batch_id}", timeout=10).status_code == 204
    until(lambda: not kept_of(service, batch_id), within_s=15, what="nothing of it being left")


def test_the_jobs_over_the_results_of_all_rounds_are_erased(service: Service) -> None:
    bad = {"custom_id": "bad", "prompt": "x", "model": "sandbox/times-1+status-400"}
    reduce = {"prompt": "{{total}}", "model": "sandbox/tokens-1"}
    batch_id = batch.submit(service, [*items(5, model="sandbox/tokens-1"), bad], on_complete=reduce)
    batch.ended(service, batch_id)
    assert batch.act(service, batch_id, "retry").status_code == 202
    assert batch.ended(service, batch_id)["on_complete"]["job_id"].endswith("-last2")
    assert len([key for key in kept_of(service, batch_id) if "-last" in str(key)]) == 2
    erased(service, batch_id)


def test_a_job_over_the_results_that_runs_is_erased(service: Service) -> None:
    reduce = {"prompt": "{{total}}", "model": "sandbox/slow-60000ms"}
    batch_id = batch.submit(service, items(5, model="sandbox/tokens-1"), on_complete=reduce)
    until(lambda: batch.get(service, batch_id)["on_complete"]["status"] == "processing", within_s=15)
    erased(service, batch_id)


def test_a_job_over_the_results_that_could_never_be_is_refused(service: Service) -> None:
    for reduce, field in (
        ({}, "messages"),
        ({"prompt": "x", "temperature": 9}, "temperature"),
        ({"prompt": "x", "idempotency_key": "k"}, "idempotency_key"),
    ):
        answer = service.http.post(
            f"{service.url}/batches", json={"items": items(1), "on_complete": reduce}, timeout=10
        )
        assert (answer.status_code, list(answer.json()["errors"])) == (422, [f"on_complete.{field}"])


def test_no_more_items_are_in_hand_than_a_worker_has_calls(tmp_path: Path) -> None:
    slots = 8
    with Service(tmp_path, workers=1, concurrency=slots) as service:
        batch_id = batch.submit(service, items(200, model="sandbox/slow-100ms"))
        records = [keys.job(item_id(batch_id, n)) for n in range(1, 201)]
        in_hand = []
        while batch.get(service, batch_id)["status"] != "completed":
            in_hand.append(int(str(service.valkey.client.eval(PROCESSING, len(records), *records))))
        assert slots // 2 < max(in_hand) <= slots


def test_a_batch_of_high_priority_goes_before_one_that_came_first(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=4) as service:
        first = batch.submit(service, items(500, model="sandbox/slow-50ms"), priority="low")
        until(lambda: batch.get(service, first)["counts"]["completed"], within_s=20)
        urgent = batch.submit(service, items(30, model="sandbox/slow-50ms"), priority="high")
        assert batch.ended(service, urgent)["status"] == "completed"
        assert batch.get(service, first)["status"] == "in_progress"
        batch.act(service, first, "cancel")


def test_a_line_that_nothing_can_keep_harms_no_other(service: Service) -> None:
    bad: list[dict[str, Any]] = [{"custom_id": "\ud800", "prompt": "x"}, {"custom_id": "b", "prompt": "x", "\ud800": 1}]
    batch_id = batch.submit(service, [*items(1, model="sandbox/tokens-1"), *bad], on_invalid="skip")
    found = batch.ended(service, batch_id)
    assert (found["status"], found["counts"]["completed"], found["counts"]["invalid"]) == ("completed", 1, 2)
    wrong = [
        (line["line"], line["custom_id"], line["error"]["field"]) for line in batch.read(service, batch_id, "errors")
    ]
    assert wrong == [(2, None, "custom_id"), (3, "b", r"\ud800")]


def test_a_batch_that_is_rejected_lets_those_go_who_wait_for_its_items(service: Service) -> None:
    """It is being read for long: a line of its second chunk waits for an engine."""
    asked: dict[str, Any] = {"prompt": "the same", "model": "sandbox/slow-6000ms", "temperature": 0}
    first = [{"custom_id": "shared", **asked}, *items(99, model="sandbox/tokens-1")]
    second = [{"custom_id": "later", "prompt": "x", "mode": "gpu"}, {"custom_id": "bad"}]
    batch_id = batch.submit(service, first + second)
    leader = f"job_{batch_id.removeprefix('batch_')}-1"
    until(lambda: service.valkey.client.exists(keys.job(leader)), within_s=10)
    single = service.submit(asked["prompt"], model=asked["model"], temperature=0)
    other = batch.submit(service, [{"custom_id": "a", **asked}])
    assert service.job(single)["coalesced_with"] == leader
    until(lambda: service.job(leader)["status"] == "processing", within_s=10)
    until(lambda: batch.get(service, other)["status"] == "in_progress", within_s=10)
    batch.act(service, batch_id, "cancel")
    rejected = batch.ended(service, batch_id, within_s=15)
    assert (rejected["status"], rejected["counts"]["cancelled"], rejected["counts"]["invalid"]) == ("failed", 101, 1)
    assert kept_of(service, batch_id) == [keys.batch(batch_id), keys.invalid_items(batch_id)]
    until(lambda: service.job(single)["status"] == "completed", within_s=15)
    assert batch.ended(service, other, within_s=15)["counts"]["completed"] == 1


def test_another_round_keeps_its_images_until_its_own_deadline(service: Service) -> None:
    asked = {"messages": asking(data_url(plain((1, 2, 3)))), "model": "sandbox/status-400"}
    batch_id = batch.submit(service, [{"custom_id": "a", **asked}])
    assert batch.ended(service, batch_id)["counts"]["failed"] == 1
    redis = service.valkey.client
    request = str(redis.hget(keys.job(item_id(batch_id, 1)), "request"))
    digest = request.partition("media:")[2][:64]
    redis.expire(keys.media(digest), 100)
    batch.act(service, batch_id, "retry")
    again = batch.ended(service, batch_id)
    assert (again["round"], again["counts"]["failed"]) == (2, 1)
    deadline_s = float(str(redis.hget(keys.batch(batch_id), "expires_at"))) / 1000
    assert redis.expiretime(keys.media(digest)) > deadline_s + 3600, "an image may lapse before its item is over"
