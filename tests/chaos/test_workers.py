"""Workers that are killed, frozen, stopped in order, flooded with duplicates, or broken from within."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tasks import publish
from tasks.celery import app
from tasks.store.message import Message
from tests.support.nemesis import Nemesis, kill_a_worker, kill_whoever_pops, submit_for
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls, judge, records, unfinished, wait_for_all

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

#: Jobs in the queue when the killing begins, and how many more come each time that half of them are gone.
LONG_LINE, TOP_UP = 5000, 500


def test_killed_workers_lose_nothing(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        service.tell_sandbox(latency_ms=500)
        with Nemesis(kill_a_worker(service), every_s=(2, 5)) as nemesis:
            ids = submit_for(service, 60, count=2000)
        wait_for_all(service, ids, within_s=60)
        verdict = judge(service, ids)
        print(f"kills={nemesis.strikes} {verdict}")
        assert nemesis.strikes >= 10
        assert len(ids) == 2000
        assert verdict.is_clean()
        assert verdict.by_status == {"completed": 2000}


@pytest.mark.timeout(900)  # a worker takes two seconds to start, on a busy machine five
def test_kills_inside_the_pop_burst_lose_nothing(tmp_path: Path) -> None:
    """A worker that dies between popping a message and doing anything about it takes the message along."""
    with Service(tmp_path, workers=0) as service:
        ids, asked = submit_for(service, 0, count=LONG_LINE), LONG_LINE
        assert queued(service) == LONG_LINE
        for _ in range(2):
            service.add_worker()
        with Nemesis(kill_whoever_pops(service), every_s=(0, 0.1)) as nemesis:
            begun = time.monotonic()
            while nemesis.strikes < 40:
                assert time.monotonic() - begun < 600, f"{nemesis.strikes} kills, {queued(service)} in the queue"
                # A quick machine pops them all between fewer kills than wanted: it gets some more.
                if queued(service) < LONG_LINE / 2:
                    ids += submit_for(service, 0, count=TOP_UP)
                    asked += TOP_UP
                time.sleep(0.05)
            left = queued(service)
        wait_for_all(service, ids, within_s=120)
        verdict = judge(service, ids)
        print(f"kills={nemesis.strikes} left in the queue after 40: {left} {verdict}")
        assert left > 0, "the last kills were after the burst"
        assert verdict.accepted == asked
        assert verdict.is_clean()


def queued(service: Service) -> int:
    """Messages in the queue."""
    return int(service.valkey.client.llen("api.sandbox"))


def test_a_frozen_worker_comes_back_too_late(tmp_path: Path) -> None:
    """Stopped for two leases and continued: its late results are refused."""
    with Service(tmp_path, workers=1) as service:
        # Long enough to be told that all have arrived before any of them is answered.
        service.tell_sandbox(latency_ms=6000)
        with service.upstream_held():
            ids = [service.submit(f"job {n}") for n in range(32)]
            until(lambda: all(service.job(job_id)["status"] == "processing" for job_id in ids), within_s=20)
        until(lambda: Counter(c["event"] for c in calls(service.sandbox_log))["arrived"] == 32, within_s=5)
        frozen = service.workers[0]
        frozen.kill(signal.SIGSTOP)
        assert not ended(service, attempt=1), "answered before the worker was frozen"
        service.tell_sandbox(latency_ms=0)
        service.add_worker()
        time.sleep(4.0)  # two leases: this is the fault itself, not a wait for something
        wait_for_all(service, ids, within_s=60)
        until(lambda: len(ended(service, attempt=1)) == 32, within_s=20, what="answers to the frozen worker")
        before = [service.job(job_id) for job_id in ids]
        frozen.kill(signal.SIGCONT)
        until(lambda: (service.data / "api0.log").read_text().count("owned=False") >= 32, within_s=20,
              what="the late results being refused")  # fmt: skip
        verdict = judge(service, ids)
        print(verdict)
        assert verdict.is_clean()
        assert ended(service, attempt=1) == ["answered"] * 32
        assert [service.job(job_id) for job_id in ids] == before


def ended(service: Service, *, attempt: int) -> list[str | None]:
    """How the jobs' calls of this attempt have ended at the sandbox."""
    return [c["outcome"] for c in calls(service.sandbox_log) if c["event"] == "ended" and c["attempt"] == attempt]


def test_sigterm_puts_back_what_is_not_finished(tmp_path: Path) -> None:
    """64 long jobs: out within the grace and 2 s, gone on with elsewhere within 2 s, nobody charged."""
    with Service(tmp_path, workers=1) as service:
        ids = [service.submit(f"job {n}", model="sandbox/slow-15000ms") for n in range(64)]
        until(lambda: len(calls(service.sandbox_log)) >= 64, within_s=15)
        service.add_worker()
        until(lambda: len(service.live_workers()) == 2, within_s=15)
        leaving = service.workers[0]
        leaving.retire()
        told_at = time.time()
        leaving.kill(signal.SIGTERM)
        until(lambda: leaving.exits, within_s=10)
        left_s, left_at = time.time() - told_at, time.time()
        wait_for_all(service, ids, within_s=40)
        again = [
            c["started_at"] for c in calls(service.sandbox_log) if c["outcome"] == "in_flight" and c["attempt"] == 2
        ]
        print(f"left after {left_s:.2f} s, last one gone on {max(again) - left_at:+.2f} s after; {judge(service, ids)}")
        assert leaving.exits == [0]
        assert left_s <= 2 + 2
        assert len(again) == 64
        assert max(again) - left_at <= 2
        assert all(record["tries"] == "0" for record in records(service.valkey.client, ids))
        assert judge(service, ids).by_status == {"completed": 64}


def test_messages_delivered_five_times_run_once(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        service.tell_sandbox(latency_ms=100, fail={"status": 503, "share": 0.3, "times": 150})
        ids = [service.submit(f"job {n}") for n in range(500)]
        chance = random.Random(5)
        while unfinished(service.valkey.client, ids) > 0:
            pending = service.valkey.client.pipeline(transaction=False)
            for job_id in ids:
                pending.hmget(f"tandem:job:{job_id}", "status", "epoch")
            again = [
                Message(job_id=job_id, epoch=int(epoch), queue="api.sandbox", priority=0)
                for job_id, (status, epoch) in zip(ids, pending.execute(), strict=True)
                if status == "pending"
                for _ in range(4)
            ]
            chance.shuffle(again)
            publish.send(again[:400], service.valkey.client)
        verdict = judge(service, ids)
        failed_tries = sum(c["outcome"] == "refused" for c in calls(service.sandbox_log))
        print(f"failed tries={failed_tries} {verdict}")
        assert verdict.is_clean()
        assert verdict.calls == 500 + failed_tries, "a duplicate message led to a call"


def test_a_task_that_raises_base_exceptions_harms_nobody(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=8, worker_options=["-I", "tests.chaos.faulty"]) as service:
        with app.connection_for_write(service.valkey.url) as connection:
            for kind in ("SystemExit", "KeyboardInterrupt", "BaseException", "GeneratorExit") * 10:
                app.send_task(
                    "tests.chaos.faulty.explode",
                    args=(kind,),
                    queue="api.sandbox",
                    ignore_result=True,
                    connection=connection,
                )
        ids = [service.submit(f"job {n}") for n in range(100)]
        wait_for_all(service, ids, within_s=40)
        verdict = judge(service, ids)
        print(f"exits={service.workers[0].exits} {verdict}")
        assert verdict.is_clean()
        assert verdict.by_status == {"completed": 100}
