"""One shard of a batch: runs its items, as many at a time as this worker has room for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait

from tasks import execution, process, publish
from tasks.domain.batch import item_id
from tasks.process import WorkerProcess
from tasks.providers.base import Call
from tasks.room import BatchRoom
from tasks.store import batch_work, lines, steps
from tasks.store.claim import Claim
from tasks.store.steps import Step

#: Items claimed in one round trip. More would be in hand for long before their calls begin.
AT_ONCE = 16


def run(step: Step, handle: Call) -> bool:
    """Run the items that nobody has claimed yet. Returns whether all have been; False: to be looked at again.

    An item that was claimed is a job like any other: it has a watcher of its own, and its retries go their own way.
    What is left where others go first is handed back before the items in hand have ended: it waits for none of them.
    """
    ids = [item_id(step.batch_id, n) for n in step.request["numbers"]]
    here = process.here()
    room, running = here.batch_room, list[Future[None]]()

    def goes_on() -> bool:
        return handle.why_cut is None and not here.draining.is_set()

    with room.shard():
        left = batch_work.default().unclaimed(ids)
        while left and (places := room.enter(goes_on, min(len(left), AT_ONCE))):
            # Not before it has begun some: it would be handed to and fro while there are single jobs.
            if running and _is_in_the_way(here):
                room.leave(places)
                break
            running += _begin(room, left[:places])
            left = left[places:]
        if left and handle.why_cut is None:
            publish.send(steps.default().again(step) or ())
        wait(running)
    handle.raise_if_cut()
    # Of one that was handed back, whoever has it now will say.
    return not batch_work.default().unclaimed(ids)


def _is_in_the_way(here: WorkerProcess) -> bool:
    """Whether what goes before items could begin if this shard ended."""
    queues = [*(one.queue for one in here.servings), steps.QUEUE]
    return here.batch_room.is_all_shards and lines.default().first(queues) > 0


def _begin(room: BatchRoom, items: Sequence[tuple[str, int]]) -> list[Future[None]]:
    claims: list[Claim] = []
    try:
        claims = execution.claim_items(items)
    finally:
        room.leave(len(items) - len(claims))
    return [room.submit(execution.run_item, claim) for claim in claims]
