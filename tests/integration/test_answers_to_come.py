"""Answers that are still to come: what was accepted finds room for its answer, and what would not is not accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.polling import until
from tests.support.service import Service

pytestmark = pytest.mark.timeout(90)

MOST_BYTES = 64 * 1024 * 1024
#: Of a job: what it may write, 160 kB by the estimate, and the words of its answer, which have as many bytes.
TOKENS, WORDS = 40_000, 21_800
#: Twice as many as there is room for.
JOBS = 330


def used(service: Service) -> int:
    return int(service.valkey.client.info("memory")["used_memory"])


def test_with_two_fifths_of_maxmemory_in_answers_to_come_redis_does_not_run_over(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, valkey_options=["--maxmemory", str(MOST_BYTES)]) as service:
        service.valkey.client.setrange("filled", int(0.45 * MOST_BYTES) - used(service), "x")
        accepted: list[str] = []
        with service.upstream_held():
            while len(accepted) < JOBS:
                answer = service.post("abc", model=f"sandbox/tokens-{WORDS}", max_tokens=TOKENS)
                if answer.status_code == 503:
                    break
                accepted.append(answer.json()["id"])
            kept = int(str(service.valkey.client.get("tandem:reserved_bytes") or 0)) / MOST_BYTES
        assert len(accepted) < JOBS, "all were accepted"
        until(lambda: all(_status(service, one) not in ("pending", "processing") for one in accepted), within_s=60,
              every_s=0.3)  # fmt: skip
        print(f"accepted={len(accepted)} kept={kept:.2f} used={used(service) / MOST_BYTES:.2f}")
        assert kept > 0.35
        assert {_status(service, one) for one in accepted} == {"completed"}
        assert used(service) < MOST_BYTES
        assert service.valkey.client.get("tandem:reserved_bytes") is None


def _status(service: Service, job_id: str) -> str:
    return str(service.valkey.client.hget(f"tandem:job:{job_id}", "status"))
