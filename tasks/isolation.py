"""Runs a suspect in a child process of its own, so that a job that kills its process takes nobody along."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from functools import cache
from multiprocessing import connection, util
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import structlog

from tasks import attempt, logs, process, settlement
from tasks.providers.base import DEADLINE, Call
from tasks.serving import Serving
from tasks.store import jobs
from tasks.store.jobs import Claim

log = structlog.get_logger()

#: What multiprocessing says of a child whose forkserver ended before it could tell the child's status.
SERVER_GONE = 255


@cache
def _context() -> ForkServerContext:
    """A server that forks children in milliseconds: it has imported what they need, and runs no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.isolation", "celery.__main__"])
    return context


class IsolatedCall(Call):
    """The call of a child process: it is ended by ending the child."""

    child: BaseProcess | None = None

    @classmethod
    def of(cls, claim: Claim) -> IsolatedCall:
        """The handle of this attempt's child."""
        plain = attempt.new_call(claim)
        return cls(request_id=plain.request_id, timeout_s=plain.remaining_s())

    def cut(self, why: str) -> None:
        """Kill the child. The first reason stays."""
        super().cut(why)
        if self.child is not None:
            self.child.kill()


def run(claim: Claim, by: Serving, call: IsolatedCall) -> None:
    """Run one attempt in a child, which writes the record itself; only its own abnormal end is charged here."""
    child = _context().Process(target=_child, args=(claim, by), daemon=True)
    child.start()
    call.child = child
    if call.why_cut is not None:
        child.kill()
    child.join()
    _conclude(claim, by, call, child.exitcode)
    child.close()


def clear() -> None:
    """Remove what the server of child processes left on disk: leaving by os._exit, multiprocessing does not."""
    if _context.cache_info().currsize:
        shutil.rmtree(util.get_temp_dir(), ignore_errors=True)


def _conclude(claim: Claim, by: Serving, call: Call, exitcode: int | None) -> None:
    records = jobs.default()
    if call.why_cut is None:
        if exitcode == SERVER_GONE or (exitcode != 0 and process.here().draining.is_set()):
            # A signal to the whole process group, or the end of the server of children: not the job's doing.
            settlement.release(records, claim, suspect=True)
        elif exitcode != 0:
            log.warning("isolation.crashed", job_id=claim.job_id, exitcode=exitcode)
            reason = f"its own process ended with {exitcode}"
            settlement.charge(records, claim, reason)
    elif call.why_cut == process.DRAIN:
        settlement.release(records, claim, suspect=True)
    elif call.why_cut == DEADLINE:
        settlement.write(records, claim, by, attempt.outcome_of_cut(claim, DEADLINE))


def _child(claim: Claim, by: Serving) -> None:
    # Ctrl-C goes to the terminal's whole process group: the parent decides what becomes of its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    logs.configure()
    call = attempt.new_call(claim)
    settlement.write(jobs.default(), claim, by, attempt.run(claim, by, call))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
