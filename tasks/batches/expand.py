"""The first step of a batch: reads its lines, writes its items, and lets them go."""

from __future__ import annotations

import structlog

from tasks import dispatch, publish, questions, routing
from tasks.batches import beginning, composition, conclude, door, openai_lines, reading
from tasks.batches.reading import Item
from tasks.domain.batch import BatchStatus, InvalidItem, item_id, item_pages
from tasks.domain.errors import RequestError, Unavailable
from tasks.domain.job import Mode, Submission
from tasks.needs import Needs
from tasks.providers.base import Call
from tasks.routing import Route
from tasks.store import batch_work, fleet
from tasks.store.batch_parts import NewItem, Plan
from tasks.store.message import Message
from tasks.store.steps import AT_ONCE, Step

log = structlog.get_logger()


class Nobody(Exception):
    """Nobody is there for an item yet: the batch waits where a single job would be refused."""


def run(step: Step, handle: Call) -> bool:
    """Read what has not been read yet. Returns whether the step is over; False: to be looked at again.

    Safe to run again: each chunk is written once, and everything behind them is done by comparison.
    """
    store = batch_work.default()
    plan = store.plan(step.batch_id)
    if plan is None:
        return True
    try:
        for chunk in range(plan.expanded, plan.chunks):
            handle.raise_if_cut()
            now = store.plan(step.batch_id)
            if now is None or now.is_erased:
                break
            _expand(step.batch_id, now, chunk)
    except Nobody:
        return False
    return _begin(step, plan, handle)


def _begin(step: Step, plan: Plan, handle: Call) -> bool:
    store, batch_id = batch_work.default(), step.batch_id
    now = store.plan(batch_id) or plan
    accept = (
        now.is_erased or plan.options["on_invalid"] == "skip" or not now.invalid or _is_openai_and_sound(batch_id, now)
    )
    if accept:
        beginning.begin(batch_id, now, handle)
    else:
        _reject(batch_id, now, handle)
    return True


def _reject(batch_id: str, plan: Plan, handle: Call) -> None:
    store = batch_work.default()
    # Ended first: others may wait for the answer of one of them, for whose sake it may even run.
    for ids in item_pages(batch_id, plan.lines, AT_ONCE):
        store.end_items(ids, status=BatchStatus.CANCELLED.value, why="the batch was rejected")
    beginning.begin(batch_id, plan, handle, accept=False)
    for ids in item_pages(batch_id, plan.lines, AT_ONCE):
        store.erase_items(ids)
    conclude.look(batch_id)


def _is_openai_and_sound(batch_id: str, plan: Plan) -> bool:
    """Whether each line of OpenAI's form is a request, if only to be refused."""
    if "openai" not in plan.options:
        return False
    return not any(map(openai_lines.is_fatal, door.invalid(batch_id)))


def _expand(batch_id: str, plan: Plan, chunk: int) -> None:
    store = batch_work.default()
    read = [_taken(batch_id, reading.read(line, plan.options), plan) for line in store.lines(batch_id, chunk)]
    invalid = [one for one in read if isinstance(one, InvalidItem)]
    items = [one for one in read if not isinstance(one, InvalidItem)]
    loads = composition.loads((item.n, item.fields) for item in items)
    store.expand(batch_id, chunk, items, loads, invalid, priority=plan.priority)


def _taken(batch_id: str, item: Item | InvalidItem, plan: Plan) -> NewItem | InvalidItem:
    if isinstance(item, InvalidItem):
        return item
    left_s = plan.left_s
    asked = item.asked.submission(owner=plan.owner, key=None, default_expires_in_s=left_s)
    try:
        route = _route(asked, is_to_run=left_s > 0 and not plan.is_unwanted, simulated=plan.may_simulate)
        return _written(batch_id, item, asked, route, plan)
    except RequestError as error:
        return _invalid(item, error.code, error.message, error.field)
    except Unavailable as error:
        if left_s > 0 and not plan.is_unwanted:
            raise Nobody from error
        return _invalid(item, "unavailable", error.message)
    except Exception as error:
        # Whatever it is, it is of this line: the step would break on it again, and the batch would never begin.
        log.exception("batch.line_broke", batch_id=batch_id, line=item.line, error=type(error).__name__)
        return _invalid(item, "invalid_line", "the line cannot be taken")


def _route(asked: Submission, *, is_to_run: bool, simulated: bool) -> Route:
    """Where an item goes. One that will not run, since its batch has been cancelled or is late, needs nobody there."""
    try:
        return routing.route(asked.mode, asked.model, fleet.default(), Needs.of(asked.request), simulated=simulated)
    except Unavailable:
        if is_to_run or asked.mode is Mode.API:
            raise
        return routing.engine(asked.model, fleet.default())


def _invalid(item: Item, code: str, message: str, field: str | None = None) -> InvalidItem:
    return InvalidItem(line=item.line, custom_id=item.custom_id, code=code, message=message, field=field)


def _written(batch_id: str, item: Item, asked: Submission, route: Route, plan: Plan) -> NewItem:
    job_id = item_id(batch_id, item.line)
    asked, fields = dispatch.written(asked, route, priority=plan.priority, max_tries=plan.options["max_tries"])
    question = questions.of(asked, fields["request"], route)
    first = Message(job_id=job_id, epoch=0, queue=route.queue, priority=plan.priority)
    return NewItem(
        id=job_id,
        n=item.line,
        custom_id=item.custom_id,
        fields=fields,
        message=publish.encode(first) if question else "",
        question=question,
    )
