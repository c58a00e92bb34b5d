"""A short seeded set of the fault tests; the long ones are in tests/chaos."""

from __future__ import annotations

import json
import random
import signal
from itertools import groupby
from pathlib import Path

from celery import Celery

from tasks import publish
from tasks.domain.job import Priority
from tasks.store import keys, steps
from tests.chaos.deadly import DeadlyUpstream
from tests.support import batch
from tests.support.nemesis import Nemesis, kill_a_worker, restart_redis, submit_for
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import claims_in_a_hold, judge, wait_for_all

SEED = 20


def test_killed_workers_and_a_killed_redis_lose_nothing(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        service.tell_sandbox(latency_ms=300)
        kill, restart = kill_a_worker(service), restart_redis(service)

        def harm(chance: random.Random) -> None:
            (restart if chance.random() < 0.3 else kill)(chance)

        with Nemesis(harm, every_s=(1, 2.5), seed=SEED) as nemesis:
            ids = submit_for(service, 9, count=300)
        wait_for_all(service, ids, within_s=40)
        verdict = judge(service, ids)
        print(f"strikes={nemesis.strikes} {verdict}")
        assert nemesis.strikes >= 3
        assert verdict.is_clean()


def test_poison_on_each_of_two_workers_is_quarantined_and_nobody_else(tmp_path: Path) -> None:
    """It kills both at the same moment, and neither is accused by chance, nor spared by it."""
    with (
        DeadlyUpstream() as upstream,
        Service(tmp_path, workers=2, concurrency=1, sandbox_url=upstream.url) as service,
    ):
        poison = [service.submit("poison") for _ in range(2)]
        ids = [service.submit(f"job {n}") for n in range(8)]
        wait_for_all(service, [*ids, *poison], within_s=60)
        assert judge(service, ids).by_status == {"completed": 8}
        assert [service.job(job_id)["error"]["code"] for job_id in poison] == ["quarantined"] * 2
        assert sum(len(worker.exits) for worker in service.workers) <= 2


def test_a_worker_that_stopped_popping_is_replaced(tmp_path: Path) -> None:
    """As after a lost connection: alive, slots free, the queue not empty, and nothing is popped."""
    with Service(tmp_path, workers=1, env={"TANDEM_STALL_S": "2"}) as service:
        client = Celery(broker=service.valkey.url)
        # A worker says hello before it listens for commands.
        until(lambda: client.control.cancel_consumer("api.sandbox", reply=True, timeout=1, limit=1), within_s=20)
        ids = [service.submit(f"job {n}") for n in range(10)]
        wait_for_all(service, ids, within_s=40)
        assert judge(service, ids).by_status == {"completed": 10}
        assert service.workers[0].exits == [75]


def test_a_worker_that_stopped_popping_is_replaced_where_only_a_batch_waits(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, env={"TANDEM_STALL_S": "2"}) as service:
        client = Celery(broker=service.valkey.url)
        until(lambda: client.control.cancel_consumer("api.sandbox", reply=True, timeout=1, limit=1), within_s=20)
        batch_id = batch.submit(service, ({"custom_id": str(n), "prompt": "hi"} for n in range(10)))
        assert batch.ended(service, batch_id, within_s=40)["counts"]["completed"] == 10
        assert service.workers[0].exits == [75]


def test_a_worker_with_all_the_shards_it_may_have_is_not_stalled(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=4, env={"TANDEM_STALL_S": "1"}) as service:
        lines = ({"custom_id": str(n), "prompt": "hi", "model": "sandbox/slow-1500ms"} for n in range(1000))
        batch_id = batch.submit(service, lines)
        until(lambda: batch.get(service, batch_id)["counts"]["completed"] >= 12, within_s=20)
        assert service.valkey.client.llen(publish.list_of("api.sandbox", Priority.NORMAL)) > 0, "no shard waits"
        assert service.workers[0].exits == []
        batch.act(service, batch_id, "cancel")


def test_a_rate_limit_holds_everybody_and_then_lets_go(tmp_path: Path) -> None:
    with Service(tmp_path, workers=0) as service:
        ids = [service.submit(f"job {n}") for n in range(100)]
        service.tell_sandbox(fail={"status": 429, "retry_after_s": 2})
        for _ in range(2):
            service.add_worker()
        until(lambda: (service.job(ids[-1])["waiting_on"] or {}).get("reason") == "rate_limit", within_s=20)
        service.tell_sandbox()
        wait_for_all(service, ids, within_s=30)
        verdict = judge(service, ids)
        print(verdict)
        assert verdict.by_status == {"completed": 100}
        assert verdict.calls <= 100 + 2 * 64 + 10
        assert claims_in_a_hold(service, ids, hold_s=2) == 0
        assert all(a["outcome"] in ("rate_limited", "completed") for a in service.job(ids[0])["attempts"])


def test_a_second_sigterm_changes_nothing(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1) as service:
        ids = [service.submit(f"job {n}", model="sandbox/slow-1000ms") for n in range(8)]
        until(lambda: all(service.job(job_id)["status"] == "processing" for job_id in ids), within_s=10)
        service.workers[0].retire()
        service.workers[0].kill(signal.SIGTERM)
        service.workers[0].kill(signal.SIGTERM)
        until(lambda: service.workers[0].exits, within_s=8)
        assert service.workers[0].exits == [0]
        assert judge(service, ids).by_status == {"completed": 8}, "the grace was not given"


def test_a_batch_whose_reader_is_killed_is_composed_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Killed while it reads lines and again where it writes shards: each item is in one shard, with its like."""
    rules, count = [f"You are clerk {name}. " * 30 for name in "ABCDE"], 3000
    lines = (
        {
            "custom_id": str(n),
            "messages": [{"role": "system", "content": rules[n % 5]}, {"role": "user", "content": "?"}],
        }
        for n in range(count)
    )
    with Service(tmp_path, workers=1) as service:
        batch_id = batch.submit(service, lines, defaults={"model": "sandbox/slow-30000ms"})
        redis, record, shards = service.valkey.client, keys.batch(batch_id), keys.shards(batch_id)
        until(lambda: 0 < int(redis.hget(record, "expanded") or 0) < count / 100, within_s=60, every_s=0.001)
        service.workers[0].kill()
        until(lambda: redis.llen(shards), within_s=90, every_s=0.0005)
        service.workers[0].kill()
        was_composed = redis.hget(record, "status") != "validating"
        until(lambda: redis.hget(record, "status") == "in_progress", within_s=90)
        print(f"killed {'behind' if was_composed else 'in'} the composition")
        assert redis.exists(keys.loads(batch_id)) == 0
        names = [keys.job(steps.step_id(batch_id, str(name))) for name in redis.lrange(shards, 0, -1)]
        carried = [n for name in names for n in json.loads(str(redis.hget(name, "request")))["numbers"]]
        assert sorted(carried) == list(range(1, count + 1))
        assert [clerk for clerk, _ in groupby((n - 1) % 5 for n in carried)] == [0, 1, 2, 3, 4]
        batch.act(service, batch_id, "cancel")
        assert batch.ended(service, batch_id)["counts"]["cancelled"] == count
        service.http.delete(f"{service.url}/batches/{batch_id}", timeout=10).raise_for_status()
        until(lambda: not redis.keys(f"{record}*"), within_s=60)
