"""What an idempotency key was used for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from redis import Redis

from tasks.domain.errors import IdempotencyMismatch
from tasks.store import keys
from tasks.store.scripts import renamed


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A job or batch that was accepted with a key, and the fingerprint of its payload."""

    id: str
    fingerprint: str

    def id_for(self, fingerprint: str) -> str:
        """Its id, for a request with this payload. Raises IdempotencyMismatch when it had another one."""
        if fingerprint != self.fingerprint:
            raise IdempotencyMismatch("this idempotency key was used with another payload", field="idempotency_key")
        return self.id


def first(redis: Redis, kind: Literal["job", "batch"], owner: str, key: str) -> Earlier | None:
    """What the key was used for, if its record is still there. Raises Unavailable."""
    with renamed():
        found = redis.hmget(keys.idempotency(kind, owner, key), ["job", "fingerprint"])
        known, fingerprint = cast(list[str | None], found)
        record = keys.job if kind == "job" else keys.batch
        if known is None or not redis.exists(record(known)):
            return None
    return Earlier(id=known, fingerprint=fingerprint or "")
