"""An owner's list, page by page, while others write."""

from __future__ import annotations

import secrets

from tasks.store import keys
from tasks.store.jobs import Jobs
from tasks.store.new_job import NewJob
from tests.support.valkey import Valkey

RECORD = {"owner": "o", "kind": "chat", "mode": "auto", "model": "default", "request": "{}", "metadata": "{}",
          "queue": "api", "priority": "0", "target": "", "max_tries": "5"}  # fmt: skip


def accept(store: Jobs) -> str:
    job_id = f"job_{secrets.token_hex(8)}"
    store.accept(NewJob(job_id=job_id, owner="o", idempotency_key=None, fingerprint="", expires_in_s=60,
                        list_age_s=60, fields=RECORD))  # fmt: skip
    return job_id


def test_each_job_is_seen_once_though_others_come_and_go_between_two_pages(valkey: Valkey) -> None:
    store = Jobs(valkey.client, ttl_s=60)
    there = [accept(store) for _ in range(450)]
    seen: list[str] = []
    more = True
    while more:
        page, more = store.page("o", status=None, model=None, limit=100, after=seen[-1] if seen else None)
        seen += [job.id for job in page]
        accept(store)
        valkey.client.delete(keys.job(there[len(there) // 2]))
    gone = there[len(there) // 2]
    assert seen == [one for one in reversed(there) if one in seen]
    assert set(there) - set(seen) <= {gone}
