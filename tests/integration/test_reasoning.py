"""Thoughts through the service: apart from the answer, and what becomes of a job whose tokens they used up."""

from __future__ import annotations

from typing import Any

from tests.support.service import Service


def ended(service: Service, words: str, **body: Any) -> dict[str, Any]:
    answer = service.post("what is it?", model=f"sandbox/{words}", headers={"Prefer": "wait=10"}, **body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_thoughts_come_apart_from_the_answer(service: Service) -> None:
    result = ended(service, "think-tags", use_reasoning=True)["result"]
    assert result["reasoning"] == "simulated thoughts about the question"
    assert result["content"].startswith("[simulated] ")


def test_a_job_that_thought_its_tokens_away_fails_with_what_it_spent(service: Service) -> None:
    job = ended(service, "exhausted")
    assert (job["status"], job["error"]["code"], job["result"]) == ("failed", "reasoning_exhausted", None)
    assert job["usage"]["reasoning_tokens"] == 5
    assert job["attempts"][-1]["usage"] == job["usage"]
    assert len(job["attempts"]) == 1


def test_it_is_asked_once_more_with_more_tokens_where_that_was_wanted(service: Service) -> None:
    job = ended(service, "exhausted+times-1", retry_exhausted=True, max_tokens=16)
    assert job["status"] == "completed"
    assert job["usage"]["reasoning_tokens"] == 5
    assert job["usage"]["total_tokens"] == job["usage"]["prompt_tokens"] + job["usage"]["completion_tokens"]
    again = ended(service, "exhausted", retry_exhausted=True)
    assert (again["status"], again["error"]["code"]) == ("failed", "reasoning_exhausted")
