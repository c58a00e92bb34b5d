"""The job over a batch's results: what is read for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks import settings
from tasks.batches import last
from tasks.domain.batch import last_id
from tasks.store import batch_work, keys
from tests.batches.finished import finished, sent_bytes
from tests.support.valkey import Valkey

BATCH = f"batch_{'0' * 32}"
ANSWER_BYTES, ITEMS = 16_000, 1500


@pytest.fixture(autouse=True)
def _hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_SANDBOX_URL", "http://127.0.0.1:9/v1")


def begun(valkey: Valkey, prompt: str) -> int:
    """Begin it; how many bytes were read."""
    ends = ["completed"] * (ITEMS - 3) + ["failed", "failed", "expired"]
    finished(valkey, BATCH, ends, answer_bytes=ANSWER_BYTES, on_complete={"prompt": prompt, "mode": "api"})
    plan = batch_work.default().plan(BATCH)
    assert plan is not None
    before = sent_bytes(valkey)
    last.begin(BATCH, plan)
    return sent_bytes(valkey) - before


def asked(valkey: Valkey) -> Any:
    """The text of the job that was made."""
    request = json.loads(str(valkey.client.hget(keys.job(last_id(BATCH, 1)), "request")))
    return request["messages"][-1]["content"]


def test_counts_are_told_without_reading_a_result(valkey: Valkey) -> None:
    read = begun(valkey, "{{completed}} {{failed}} {{cancelled}} {{expired}} of {{total}}")
    assert asked(valkey) == f"{ITEMS - 3} 2 0 1 of {ITEMS}"
    assert read < 1_000_000, "the results were read"


def test_results_that_are_too_long_are_read_no_further(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_MAX_BODY_BYTES", "1000000")
    read = begun(valkey, "{{#results}}{{content}}{{/results}}")
    assert settings.get().max_body_bytes == 1_000_000
    assert json.loads(str(valkey.client.hget(keys.batch(BATCH), "last_error")))["code"] == "invalid_request"
    assert read < 2_000_000, "more than could be taken"


def test_results_are_read_once_for_all_parts(valkey: Valkey) -> None:
    read = begun(valkey, "{{#results}}{{custom_id}} {{/results}}" + "{{#results}}{{status}} {{/results}}" * 2)
    words = asked(valkey).split()
    assert (len(words), words[0], words[ITEMS - 1], words[ITEMS], words[-1]) == (
        3 * ITEMS, "c1", f"c{ITEMS}", "completed", "expired",
    )  # fmt: skip
    assert read < 1.2 * ITEMS * ANSWER_BYTES


def test_items_of_mode_gpu_keep_it_in_the_house(valkey: Valkey) -> None:
    finished(valkey, BATCH, ["completed"] * 3, answer_bytes=10, on_complete={"prompt": "{{total}}", "mode": "api"})
    valkey.client.hset(keys.job(f"job_{'0' * 32}-2"), "mode", "gpu")
    plan = batch_work.default().plan(BATCH)
    assert plan is not None
    last.begin(BATCH, plan)
    assert "mode=gpu" in str(valkey.client.hget(keys.batch(BATCH), "last_error"))
