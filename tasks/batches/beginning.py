"""The beginning of a batch's round: all of its items are written, now its shards are composed and let go."""

from __future__ import annotations

from tasks.batches import chord, composition
from tasks.providers.base import Call
from tasks.store import batch_work
from tasks.store.batch_parts import Plan

#: Shards that one script writes: a few milliseconds.
AT_ONCE = 50


def begin(batch_id: str, plan: Plan, handle: Call, *, accept: bool = True) -> None:
    """Let the items of a batch go, or end it as not valid.

    Safe to run again: the same shards are composed, those that are there are passed over, and it begins once.
    """
    store = batch_work.default()
    if accept and not plan.is_unwanted:
        shards = composition.shards(store.loads(batch_id), number=plan.round)
        for first in range(0, len(shards), AT_ONCE):
            handle.raise_if_cut()
            store.add_shards(batch_id, first, shards[first : first + AT_ONCE], priority=plan.priority)
    messages = store.begin(batch_id, accept=accept, stop_after=plan.options["stop_after"])
    if messages:
        chord.publish_batch(batch_id, messages)
