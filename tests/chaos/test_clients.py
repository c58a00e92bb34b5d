"""Clients: whose service dies under them, and who cancel at the worst moment."""

from __future__ import annotations

import os
import random
import signal
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.nemesis import Nemesis
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls, judge, wait_for_all

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


def test_clients_of_a_killed_web_retry_with_their_key(tmp_path: Path) -> None:
    with Service(tmp_path) as service:

        def kill_web(chance: random.Random) -> None:
            processes = psutil.Process(service.web.process.pid).children()
            if processes:
                os.kill(chance.choice(processes).pid, signal.SIGKILL)

        answers: list[tuple[str, int]] = []
        with Nemesis(kill_web, every_s=(0.3, 0.8)) as nemesis, ThreadPoolExecutor(8) as pool:
            while nemesis.strikes < 8 or len(answers) < 600:
                answers += pool.map(lambda n: post_until_answered(service, n), range(100))
        ids = [job_id for job_id, _ in answers]
        retried = sum(tries > 1 for _, tries in answers)
        wait_for_all(service, ids, within_s=30)
        verdict = judge(service, ids)
        known = sum(1 for _ in service.valkey.client.scan_iter("tandem:job:*", count=1000))
        print(f"kills={nemesis.strikes} retried={retried} records={known} {verdict}")
        assert nemesis.strikes >= 5 and retried > 0
        assert known == len(ids), "a retry made a second job"
        assert verdict.is_clean()


def post_until_answered(service: Service, number: int) -> tuple[str, int]:
    """POST with one key until there is an answer: (job id, tries)."""
    key = str(uuid.uuid4())
    for tries in range(1, 200):
        try:
            answer = requests.post(
                f"{service.url}/jobs", json={"prompt": f"job {number}"}, headers={"Idempotency-Key": key}, timeout=10
            )
        except requests.RequestException:
            continue
        if answer.status_code == 202:
            return str(answer.json()["id"]), tries
    raise AssertionError("never answered")


def test_cancel_races_with_the_finish(tmp_path: Path) -> None:
    """500 jobs cancelled about when they finish: each ends one way, and stays so."""
    with Service(tmp_path) as service:
        service.tell_sandbox(latency_ms=150)
        chance = random.Random(7)
        seen: list[tuple[str, str]] = []

        def race(number: int) -> None:
            job_id = service.submit(f"job {number}")
            threading.Event().wait(chance.uniform(0.05, 0.3))
            answer = service.http.post(f"{service.url}/jobs/{job_id}/cancel", timeout=10)
            assert answer.status_code == 200
            seen.append((job_id, answer.json()["status"]))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(race, range(500)))
        ids = [job_id for job_id, _ in seen]
        wait_for_all(service, ids, within_s=20)
        until(lambda: open_calls(service) == 0, within_s=10, what="all calls being over")
        verdict = judge(service, ids)
        print(f"{Counter(status for _, status in seen)} {verdict}")
        assert verdict.is_clean()
        assert set(verdict.by_status) == {"completed", "cancelled"}
        assert all(service.job(job_id)["status"] == status for job_id, status in seen)


def open_calls(service: Service) -> int:
    """Calls that the sandbox is still answering."""
    log = calls(service.sandbox_log)
    arrived = len([entry for entry in log if entry["outcome"] == "in_flight"])
    return arrived - (len(log) - arrived)
