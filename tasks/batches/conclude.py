"""The end of a batch: what is left of it is ended, a job over its results is run once, and then it is over."""

from __future__ import annotations

import structlog

from tasks.domain.batch import BatchStatus
from tasks.store import batches
from tasks.store.batches import AT_ONCE, item_id

log = structlog.get_logger()


def look(batch_id: str) -> bool:
    """Move the batch to its end if it is there. Returns whether it has ended (or is gone).

    By comparison, so it may be called too early, twice at once, and again after a crash in the middle.
    """
    store = batches.default()
    while True:
        plan = store.plan(batch_id)
        if plan is None:
            return True
        word, *rest = store.conclude(batch_id, has_last=plan["options"]["on_complete"] is not None)
        if word in ("gone", "over", "ended"):
            if word == "ended":
                log.info("batch.ended", batch_id=batch_id, status=rest[0])
            return True
        if word == "cancel":
            _end(batch_id, int(plan["lines"]), BatchStatus.CANCELLED, "the batch was cancelled")
        elif word == "expire":
            _end(batch_id, int(plan["lines"]), BatchStatus.EXPIRED, "the batch's deadline passed before it was done")
        else:
            return False


def _end(batch_id: str, lines: int, status: BatchStatus, why: str) -> None:
    store = batches.default()
    for first in range(1, lines + 1, AT_ONCE):
        ids = [item_id(batch_id, n) for n in range(first, min(first + AT_ONCE, lines + 1))]
        store.end_items(ids, status=status.value, why=why)
