"""A suspect's child process: which of its ends are charged to the job, and which are not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from tasks import dispatch, isolation
from tasks.domain.job import Job, Status
from tasks.store import jobs, keys
from tests.providers.wire import GOOD, Line, Wire
from tests.support import attempts
from tests.support.polling import until
from tests.support.valkey import Valkey

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as made:
        yield made


@pytest.fixture(autouse=True)
def _served(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts.set_up(monkeypatch)


class Suspect:
    """A job that runs in a child, whose call hangs in the wire until `answer` is set."""

    def __init__(self, wire: Wire) -> None:
        self.answer, self.asked = threading.Event(), threading.Event()
        wire.handler = self._serve
        self.job_id = attempts.submit()
        self.by = replace(attempts.BY, base_url=wire.url)
        self.call = isolation.IsolatedCall.of(claim := attempts.claim(self.job_id))
        self._thread = threading.Thread(target=isolation.run, args=(claim, self.by, self.call))

    def _serve(self, line: Line) -> None:
        line.request()
        self.asked.set()
        self.answer.wait(30)
        line.send(GOOD)

    def begin(self) -> psutil.Process:
        """The child, once its call is under way."""
        before = set(descendants())
        self._thread.start()
        until(self.asked.is_set, within_s=30, what="the child's call")
        [child] = [one for one in descendants() if one not in before and not one.children() and is_child(one)]
        return child

    def end(self) -> Job:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return dispatch.find(self.job_id, "o")

    def crashes(self) -> int:
        return int(str(jobs.default().redis.hget(keys.job(self.job_id), "crashes")))


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def is_child(process: psutil.Process) -> bool:
    """Whether it was forked by the server of children."""
    parent = process.parent()
    return parent is not None and parent.pid != os.getpid() and "forkserver" in " ".join(parent.cmdline())


@pytest.fixture
def suspect(wire: Wire) -> Suspect:
    return Suspect(wire)


def test_a_child_that_answers_settles_its_job(suspect: Suspect) -> None:
    suspect.begin()
    suspect.answer.set()
    job = suspect.end()
    assert job.status is Status.COMPLETED
    assert suspect.crashes() == 0


def test_a_child_that_is_killed_is_charged_to_its_job(suspect: Suspect) -> None:
    os.kill(suspect.begin().pid, signal.SIGKILL)
    job = suspect.end()
    assert (job.status, job.attempts[-1]["outcome"]) == (Status.PENDING, "crashed")
    assert suspect.crashes() == 1


def test_a_child_whose_server_is_killed_is_not_charged(suspect: Suspect) -> None:
    """How the child ended, nobody can tell then: the job is released."""
    server = suspect.begin().parent()
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    job = suspect.end()
    assert (job.status, job.attempts[-1]["outcome"]) == (Status.PENDING, "released")
    assert suspect.crashes() == 0


def test_a_child_that_is_cut_is_not_charged(suspect: Suspect) -> None:
    suspect.begin()
    suspect.call.cut("drain")
    suspect.end()
    assert suspect.crashes() == 0


def test_a_child_that_could_not_write_what_came_of_its_job_is_not_charged(valkey: Valkey) -> None:
    """Redis stayed away: the lease tells the rest."""
    claim = attempts.claim(attempts.submit())
    isolation._conclude(claim, attempts.BY, isolation.IsolatedCall.of(claim), isolation.UNWRITTEN)
    job = dispatch.find(claim.job_id, "o")
    assert (job.status, job.attempts[-1]["outcome"]) == (Status.PROCESSING, None)
