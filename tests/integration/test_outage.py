"""A lone job outlives its provider's outage, however few tries it has. Real workers, NVIDIA's dialect."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hosted import nim
from tests.support.polling import until
from tests.support.service import Service

TRIES = 2


@pytest.mark.timeout(60)
def test_a_lone_job_completes_once_its_provider_is_back(tmp_path: Path) -> None:
    service = Service(tmp_path, workers=1, concurrency=4)
    service.env |= {
        **nim(service),
        "TANDEM_NIM_RPM": "0",
        "TANDEM_MAX_TRIES": str(TRIES),
        "TANDEM_BACKOFF_S": "0.05",
        "TANDEM_OUTAGE_S": "900",
        "TANDEM_CIRCUIT_OPEN_S": "0.2",
        "TANDEM_CIRCUIT_LONGEST_S": "0.4",
    }
    with service:
        service.tell_sandbox(fail={"status": 503})
        job_id = service.submit(mode="api")
        until(lambda: len(service.job(job_id)["attempts"]) > 2 * TRIES, within_s=30, what="more tries than it has")
        assert service.job(job_id)["status"] in ("pending", "processing")
        service.http.delete(f"{service.sandbox_root}/control", timeout=5).raise_for_status()
        until(lambda: service.job(job_id)["status"] == "completed", within_s=20, what="the answer")
