"""Runs a suspect in a child process of its own, so that a job that kills its process takes nobody along."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import connection, resource_tracker, util
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from tasks import attempt, charges, logs, settlement
from tasks.attempt import Outcome, Postponed, ProcessTimeout
from tasks.domain.errors import Unavailable
from tasks.providers.base import Call
from tasks.serving import Serving
from tasks.store import jobs
from tasks.store.claim import Claim

log = structlog.get_logger()

#: What multiprocessing says of a child whose forkserver ended before it could tell the child's status.
SERVER_GONE = 255
#: How a child ends that could not write what came of its job, because Redis stayed away. The lease tells the rest.
UNWRITTEN = os.EX_TEMPFAIL
#: What a terminal or a supervisor sends to a whole process group: the parent decides what becomes of its children.
GROUP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@cache
def _context() -> ForkServerContext:
    """A server that forks children in milliseconds: it has imported what they need, and runs no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.isolation", "celery.__main__"])
    # Started here, because starting it later would undo what `_deaf` does.
    resource_tracker.ensure_running()
    return context


@contextmanager
def _deaf() -> Iterator[None]:
    """Block those signals here: a server of children that is begun meanwhile inherits that, and the children of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class IsolatedCall(Call):
    """The call of a child process: it is ended by ending the child."""

    def __init__(self, *, request_id: str, timeout_s: float) -> None:
        super().__init__(request_id=request_id, timeout_s=timeout_s)
        self._guard = threading.Lock()
        self._child: BaseProcess | None = None

    @classmethod
    def of(cls, claim: Claim) -> IsolatedCall:
        """The handle of this attempt's child."""
        plain = attempt.new_call(claim)
        return cls(request_id=plain.request_id, timeout_s=plain.remaining_s())

    @contextmanager
    def running(self, child: BaseProcess) -> Iterator[None]:
        """Let `cut` reach the child for as long as the block runs, and if it was called before."""
        self._hold(child)
        try:
            yield
        finally:
            self._hold(None)

    def cut(self, why: str) -> None:
        """Kill the child. The first reason stays."""
        super().cut(why)
        with self._guard:
            self._kill_if_cut()

    def _hold(self, child: BaseProcess | None) -> None:
        with self._guard:
            self._child = child
            self._kill_if_cut()

    def _kill_if_cut(self) -> None:
        if self.why_cut is not None and self._child is not None:
            self._child.kill()


def run(claim: Claim, by: Serving, call: IsolatedCall) -> None:
    """Run one attempt in a child, which writes the record itself; only its own abnormal end is charged here."""
    _conclude(claim, by, call, in_child(_child, (claim, by), call))


def in_child(target: Callable[..., None], args: tuple[Any, ...], call: IsolatedCall) -> int | None:
    """Run a function, which begins with `begin_child`, in a child that `call` ends: the child's exit status."""
    child = _context().Process(target=target, args=args, daemon=True)
    with _deaf():
        child.start()
    with call.running(child):
        child.join()
    status = child.exitcode
    child.close()
    return status


def begin_child() -> None:
    """What each child does first: it ends with its parent, and logs as its parent does."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    logs.configure()


def clear() -> None:
    """Remove what the server of child processes left on disk: leaving by os._exit, multiprocessing does not."""
    if _context.cache_info().currsize:
        shutil.rmtree(util.get_temp_dir(), ignore_errors=True)


def _conclude(claim: Claim, by: Serving, call: Call, exitcode: int | None) -> None:
    records = jobs.default()
    if call.why_cut is not None:
        settlement.write(records, claim, by, _outcome_of_kill(claim, call.why_cut))
    elif exitcode == SERVER_GONE:
        settlement.release(records, claim, reason="the server of child processes ended")
    elif exitcode not in (0, UNWRITTEN):
        log.warning("isolation.crashed", job_id=claim.job_id, exitcode=exitcode)
        settlement.charge(records, claim, f"its own process ended with {exitcode}")
    settlement.call_over(records, charges.unknown(claim))


def _outcome_of_kill(claim: Claim, why: str) -> Outcome:
    match attempt.outcome_of_cut(claim, why):
        case Postponed(error=error):
            return Postponed(error=ProcessTimeout(error.message))
        case outcome:
            return outcome


def _child(claim: Claim, by: Serving) -> None:
    begin_child()
    call = attempt.new_call(claim)
    try:
        settlement.write(jobs.default(), claim, by, attempt.run(claim, by, call), call)
    except Unavailable:
        log.warning("isolation.without_redis", job_id=claim.job_id)
        os._exit(UNWRITTEN)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
