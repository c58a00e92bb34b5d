"""The first step of a further round: puts back the items that ended without an answer, and lets them go."""

from __future__ import annotations

from tasks.batches import beginning, composition
from tasks.domain.batch import item_pages
from tasks.providers.base import Call
from tasks.store import batch_work
from tasks.store.steps import AT_ONCE, Step


def run(step: Step, handle: Call) -> bool:
    """Go through all items once. Safe to run again: each chunk of them is put back once."""
    store, batch_id = batch_work.default(), step.batch_id
    plan = store.plan(batch_id)
    if plan is None:
        return True
    for chunk, ids in enumerate(item_pages(batch_id, plan.lines, AT_ONCE)):
        handle.raise_if_cut()
        if chunk >= plan.expanded:
            loads = composition.loads(store.unanswered(ids))
            store.reset_items(batch_id, chunk, ids, loads, priority=plan.priority)
    beginning.begin(batch_id, plan, handle)
    return True
