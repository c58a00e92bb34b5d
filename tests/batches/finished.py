"""A batch whose items have ended with long answers, written as the scripts leave it; and what it takes to read it."""

from __future__ import annotations

import json
from typing import Any

from tasks.domain.batch import item_id
from tasks.store import keys
from tests.support import batch
from tests.support.valkey import Valkey

OWNER = "o"
FAR_MS = 32503680000000


def finished(valkey: Valkey, batch_id: str, ends: list[str], *, answer_bytes: int, on_complete: object = None) -> None:
    """Write it: `ends` are the states of its items in the order of their lines."""
    redis = valkey.client
    options = {**batch.OPTIONS, "on_complete": on_complete}
    record: dict[Any, Any] = {
        "owner": OWNER, "status": "finalizing", "created_at": 1, "expires_at": FAR_MS, "total": len(ends),
        "lines": len(ends), "valid": len(ends), "settled": len(ends), "invalid": 0, "round": 1, "chunks": 1,
        "expanded": 1, "metadata": "{}", "options": json.dumps(options), "may_simulate": 1,
    }  # fmt: skip
    record |= {end: ends.count(end) for end in set(ends)}
    redis.hset(keys.batch(batch_id), mapping=record)
    redis.zadd(keys.owner_batches(OWNER), {batch_id: redis.zcard(keys.owner_batches(OWNER)) + 1})
    result = json.dumps({"content": "x" * answer_bytes})
    pipe = redis.pipeline(transaction=False)
    for line, end in enumerate(ends, start=1):
        pipe.hset(keys.job(item_id(batch_id, line)), mapping={
            "owner": OWNER, "kind": "chat", "mode": "api", "model": "default", "status": end, "custom_id": f"c{line}",
            "created_at": 1, "expires_at": FAR_MS, "metadata": "{}", "batch": batch_id, "line": line,
            **({"result": result} if end == "completed" else {}),
        })  # fmt: skip
        pipe.zadd(keys.settled_items(batch_id), {str(line): line})
    pipe.execute()


def sent_bytes(valkey: Valkey) -> int:
    """What this Valkey has sent to its clients so far."""
    return int(valkey.client.info("stats")["total_net_output_bytes"])


def reads(valkey: Valkey) -> int:
    """How often it has read from a client's socket so far: about a round trip each."""
    return int(valkey.client.info("stats")["total_reads_processed"])
