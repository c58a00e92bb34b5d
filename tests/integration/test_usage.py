"""What was used, counted where jobs end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.support.polling import until
from tests.support.service import Service


def lines(service: Service, **query: Any) -> dict[str, dict[str, Any]]:
    answer = service.http.get(f"{service.url}/usage", params=query, timeout=10)
    assert answer.status_code == 200, answer.text
    return {line["model"]: line for line in answer.json()["data"]}


def test_jobs_are_counted_once_by_day_provider_and_model(service: Service) -> None:
    before = lines(service)
    ids = [service.submit("one two three", model="sandbox/tokens-7") for _ in range(5)]
    ids.append(service.submit("one", model="sandbox/status-400"))
    ids.append(service.submit("one", model="sandbox/slow-1ms+exhausted"))
    until(lambda: all(service.job(one)["finished_at"] for one in ids), within_s=20)
    found = lines(service)
    assert "sandbox/tokens-7" not in before
    line = found["sandbox/tokens-7"]
    assert (line["day"], line["provider"]) == (datetime.now(UTC).date().isoformat(), "sandbox")
    assert (line["requests"], line["prompt_tokens"], line["completion_tokens"], line["total_tokens"]) == (5, 15, 35, 50)
    assert "sandbox/status-400" not in found
    assert found["sandbox/slow-1ms+exhausted"]["reasoning_tokens"] == 5
    assert lines(service, days=1) == found


def test_days_are_bounded(service: Service) -> None:
    for days in ("0", "91", "x"):
        answer = service.http.get(f"{service.url}/usage", params={"days": days}, timeout=10)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["days"])
