"""The end of a batch: what is left of it is ended, a job over its results is run once, and then it is over."""

from __future__ import annotations

import structlog

from tasks.batches import last
from tasks.domain.batch import BatchStatus, item_pages, last_id
from tasks.store import batch_work
from tasks.store.batch_parts import Plan
from tasks.store.steps import AT_ONCE

log = structlog.get_logger()

CANCELLED = "the batch was cancelled"


def look(batch_id: str, *, makes_last: bool = True) -> bool:
    """Move the batch to its end if it is there. Returns whether it has ended (or is gone).

    By comparison, so it may be called too early, twice at once, and again after a crash in the middle. Only who holds a
    lease may make the job over the results (`makes_last`): should that silence the worker, it must be known what did.
    """
    store = batch_work.default()
    while True:
        plan = store.plan(batch_id)
        if plan is None:
            return True
        word, *rest = store.conclude(batch_id, has_last=plan.options["on_complete"] is not None)
        if word == "erase":
            _erase(batch_id, plan)
            return True
        if word in ("gone", "over"):
            return True
        if word == "more":
            continue
        if word == "ended":
            log.info("batch.ended", batch_id=batch_id, status=rest[0])
        elif word == "lapses":
            _let_lapse(batch_id, plan.lines, rest[0])
            return True
        elif word == "cancel":
            _end(batch_id, plan, BatchStatus.CANCELLED, CANCELLED)
        elif word == "expire":
            _end(batch_id, plan, BatchStatus.EXPIRED, "the batch's deadline passed before it was done")
        elif word == "end_last":
            store.end_items(rest, status=BatchStatus.CANCELLED.value, why=CANCELLED)
        elif word == "last" and not rest[0] and makes_last:
            last.begin(batch_id, plan)
        else:
            return False


def give_up(batch_id: str, *, code: str, why: str) -> None:
    """End a batch that cannot be read. May be broken off and done again."""
    store = batch_work.default()
    plan = store.plan(batch_id)
    if plan is not None and plan.status == BatchStatus.VALIDATING:
        for ids in item_pages(batch_id, plan.lines, AT_ONCE):
            store.end_items(ids, status=BatchStatus.CANCELLED.value, why=why)
        store.give_up(batch_id, code=code, why=why)
        log.warning("batch.given_up", batch_id=batch_id, code=code)
    look(batch_id)


def _erase(batch_id: str, plan: Plan) -> None:
    for ids in item_pages(batch_id, plan.lines, AT_ONCE):
        batch_work.default().erase_items(ids)
    for number in range(1, plan.round + 1):
        batch_work.default().erase_last(last_id(batch_id, number))
    # The record last: until it is gone, whoever finds it goes on here.
    batch_work.default().erase(batch_id, plan.round)


def _let_lapse(batch_id: str, lines: int, at_ms: str) -> None:
    """Items have no time to live of their own while their batch runs: the first may have ended long ago."""
    for ids in item_pages(batch_id, lines, AT_ONCE):
        if not batch_work.default().let_lapse(batch_id, at_ms, ids):
            return
    batch_work.default().let_lapse(batch_id, at_ms, [], is_last=True)


def _end(batch_id: str, plan: Plan, status: BatchStatus, why: str) -> None:
    store, ended = batch_work.default(), 0
    for ids in item_pages(batch_id, plan.lines, AT_ONCE):
        ended += store.end_items(ids, status=status.value, why=why)
    if not ended and (missing := store.write_off(batch_id, plan.round, status=status.value)):
        log.warning("batch.items_missing", batch_id=batch_id, items=missing)
