"""`Prefer: wait=n` (RFC 7240): hold the answer until the job has ended, n seconds at most."""

from __future__ import annotations

import re
import threading
import time

from werkzeug.datastructures import Headers

from tasks import dispatch
from tasks.domain.errors import JobNotFound, Unavailable
from tasks.domain.job import Job

#: Load balancers give up after 60 s without an answer.
LONGEST_S = 55
#: Waiting is a courtesy: beyond this many waiters in one process the answer comes at once, and threads stay free.
SEATS = 48
#: How soon a waiter notices that its process is to stop.
SLICE_S = 1.0

APPLIED = "Preference-Applied"
_WAIT = re.compile(r"""\s*wait\s*=\s*("?)(\d{1,9})\1\s*(?:;.*)?""", re.IGNORECASE)

_seats = threading.BoundedSemaphore(SEATS)
_stopping = threading.Event()


def stop() -> None:
    """Send all waiters of this process home with what they have."""
    _stopping.set()


def wait_s(headers: Headers) -> int:
    """How many seconds the client would wait; 0 when it did not say, or not intelligibly."""
    for preference in headers.get("Prefer", "").split(","):
        if found := _WAIT.fullmatch(preference):
            return min(int(found[2]), LONGEST_S)
    return 0


def wait(job: Job, wanted_s: int) -> tuple[Job, dict[str, str]]:
    """The job, ended if it ends in time; and the headers that say that the preference was met.

    Raises JobNotFound and Unavailable.
    """
    if not wanted_s or not _seats.acquire(blocking=False):
        return job, {}
    try:
        ended = _until_over(job, time.monotonic() + wanted_s)
    finally:
        _seats.release()
    return ended, {APPLIED: f"wait={wanted_s}"} if ended.status.is_final else {}


def wait_for_accepted(job: Job, wanted_s: int) -> tuple[Job, dict[str, str]]:
    """The same for a job just accepted: what happens while its client waits takes nothing back.

    It is the job as accepted when it was erased meanwhile, or Redis went away.
    """
    try:
        return wait(job, wanted_s)
    except (JobNotFound, Unavailable):
        return job, {}


def _until_over(job: Job, ends_at: float) -> Job:
    while not job.status.is_final and not _stopping.is_set():
        left = ends_at - time.monotonic()
        if left <= 0:
            break
        job = dispatch.wait(job.id, job.owner, min(left, SLICE_S))
    return job
