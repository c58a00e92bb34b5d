"""The service as tests start it, but with the times that a user gets: those of tests are short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tasks.settings import Settings
from tests.support.service import ROOT, Service

#: Settings whose defaults are measured, whatever Service sets for tests.
AS_SHIPPED = {
    "TANDEM_LEASE_S": "lease_s",
    "TANDEM_DRAIN_S": "drain_s",
    "TANDEM_BACKOFF_S": "backoff_s",
    "TANDEM_BACKOFF_CAP_S": "backoff_cap_s",
    "TANDEM_MAX_TRIES": "max_tries",
}


def default(name: str) -> Any:
    """The default of a setting."""
    return Settings.model_fields[name].default


def house(data: Path, *, workers: int = 0, concurrency: int = 64, env: Mapping[str, str] | None = None) -> Service:
    """Valkey, sandbox, web and `workers` api workers, with the settings as shipped. To be entered with `with`."""
    shipped = {variable: str(default(name)) for variable, name in AS_SHIPPED.items()}
    own = {"TANDEM_API_CONCURRENCY": str(concurrency), **shipped, **(env or {})}
    return Service(data, workers=workers, concurrency=concurrency, env=own)


def job_ids(service: Service) -> list[str]:
    """All jobs, oldest first."""
    return cast(list[str], service.valkey.client.zrange("tandem:owner:public:jobs", 0, -1))


def fields(service: Service, ids: Sequence[str], *names: str) -> list[list[str]]:
    """Fields of the records of jobs."""
    pipe = service.valkey.client.pipeline(transaction=False)
    for job_id in ids:
        pipe.hmget(f"tandem:job:{job_id}", names)
    return cast(list[list[str]], pipe.execute())


def finished_at(service: Service, ids: Sequence[str]) -> list[float]:
    """When they were completed, in seconds since the epoch, ascending. Raises AssertionError if one was not."""
    found = fields(service, ids, "status", "finished_at")
    assert all(status == "completed" for status, _ in found), "not every job was completed"
    return sorted(int(at) / 1000 for _, at in found)


def are_over(service: Service, count: int) -> bool:
    """Whether `count` jobs have been accepted and none is watched any more."""
    client = service.valkey.client
    return client.zcard("tandem:owner:public:jobs") >= count and not client.zcard("tandem:due")


def forget(service: Service) -> None:
    """Erase all jobs and messages. What kombu noted of its queues stays, or publishing would fail."""
    client = service.valkey.client
    for key in client.scan_iter(count=10_000):
        if not key.startswith(("_kombu", "tandem:worker", "tandem:served")):
            client.unlink(key)


__all__ = ["ROOT", "Service", "are_over", "default", "fields", "finished_at", "forget", "house", "job_ids"]
