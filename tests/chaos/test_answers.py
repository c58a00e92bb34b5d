"""Jobs that wait for another's answer, while workers and Redis are killed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.nemesis import Nemesis, kill_a_worker, restart_redis, submit_for
from tests.support.service import Service
from tests.support.verdict import judge, wait_for_all

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def test_those_who_ask_the_same_all_get_the_answer(tmp_path: Path) -> None:
    """Four clients ask the same at about the same time, a thousand times."""
    with Service(tmp_path) as service:
        service.tell_sandbox(latency_ms=500)
        kill, restart = kill_a_worker(service), restart_redis(service)
        with Nemesis(lambda chance: (restart if chance.random() < 0.2 else kill)(chance), every_s=(2, 5)) as nemesis:
            ids = submit_for(service, 45, count=2000, temperature=0)
        wait_for_all(service, ids, within_s=60)
        verdict = judge(service, ids)
        redis = service.valkey.client
        how = Counter(
            "asked" if attempts else "cached" if cached else "coalesced"
            for attempts, cached in (redis.hmget(f"tandem:job:{one}", "attempts", "cached") for one in ids)
        )
        print(f"strikes={nemesis.strikes} {dict(how)} {verdict}")
        assert nemesis.strikes >= 8
        assert verdict.is_clean()
        assert set(verdict.by_status) == {"completed"}
        assert how["coalesced"] > 500
        assert verdict.calls <= verdict.claims
        assert how["asked"] < 0.6 * len(ids)
        assert redis.keys("tandem:followers:*") == []
