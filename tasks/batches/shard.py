"""One shard of a batch: runs its items, as many at a time as this worker has room for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait

from tasks import execution, process
from tasks.domain.batch import item_id
from tasks.providers.base import Call
from tasks.room import BatchRoom
from tasks.store import batch_work
from tasks.store.claim import Claim
from tasks.store.steps import Step

#: Items claimed in one round trip. More would be in hand for long before their calls begin.
AT_ONCE = 16


def run(step: Step, handle: Call) -> bool:
    """Run the items that nobody has claimed yet. Returns whether all have been; False: to be looked at again.

    An item that was claimed is a job like any other: it has a watcher of its own, and its retries go their own way.
    """
    ids = [item_id(step.batch_id, n) for n in step.request["numbers"]]
    room = process.here().batch_room
    running: list[Future[None]] = []
    with room.shard():
        left = batch_work.default().unclaimed(ids)
        while left and (places := room.enter(handle, min(len(left), AT_ONCE))):
            running += _begin(room, left[:places])
            left = left[places:]
        wait(running)
    handle.raise_if_cut()
    return not batch_work.default().unclaimed(ids)


def _begin(room: BatchRoom, items: Sequence[tuple[str, int]]) -> list[Future[None]]:
    claims: list[Claim] = []
    try:
        claims = execution.claim_items(items)
    finally:
        room.leave(len(items) - len(claims))
    return [room.submit(execution.run_item, claim) for claim in claims]
