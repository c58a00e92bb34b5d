"""The first step of a further round: puts back the items that ended without an answer, and lets them go."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tasks import settings
from tasks.batches import beginning, composition
from tasks.domain.batch import item_pages
from tasks.domain.request import ChatRequest
from tasks.providers.base import Call
from tasks.store import batch_work, media
from tasks.store.batch_parts import Plan
from tasks.store.batch_work import ITEMS_AT_ONCE
from tasks.store.steps import Step


def run(step: Step, handle: Call) -> bool:
    """Go through all items once. Safe to run again: each piece of them is put back once."""
    store, batch_id = batch_work.default(), step.batch_id
    plan = store.plan(batch_id)
    if plan is None:
        return True
    for piece, ids in enumerate(item_pages(batch_id, plan.lines, ITEMS_AT_ONCE)):
        handle.raise_if_cut()
        before = piece * ITEMS_AT_ONCE
        if before >= plan.reset_lines:
            _keep_images(ids, plan)
            loads = composition.loads(store.unanswered(ids))
            store.reset_items(batch_id, before, ids, loads, priority=plan.priority)
    beginning.begin(batch_id, plan, handle)
    return True


def _keep_images(ids: Sequence[str], plan: Plan) -> None:
    """They were kept for the first round's deadline."""
    requests = (ChatRequest.from_json(json.loads(text)) for text in batch_work.default().seen(ids))
    references = {image.url for request in requests for image in request.images()}
    left_s = max(0.0, plan.left_s)
    media.default().prolong(references, for_s=left_s + settings.get().job_ttl_s)
