"""The run: check, start in order, watch, stop in order."""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tasks import preflight, serving, settings
from tasks.launcher import checks, environment, greeting, owner, programs, valkey
from tasks.launcher.announcement import Announcement
from tasks.launcher.environment import Surroundings
from tasks.launcher.erasure import Erasure
from tasks.launcher.interrupt import Interrupt
from tasks.launcher.key_watch import KeyWatch
from tasks.launcher.logs import Follower, last_line
from tasks.launcher.programs import Program
from tasks.launcher.supervisor import Supervisor
from tasks.launcher.terminal import LaunchError, fail, say, warn
from tasks.settings import BadSettings, Settings
from tasks.store import connection
from tasks.store.access import Access
from tasks.store.circuits import Breaker
from tasks.store.fleet import Fleet

TICK_S, LOOK_S = 1.0, 0.1
#: How long a start may take. Reading a long append-only file does not count.
START_S = 120.0
#: All of a stop, from the signal to the exit, is 20 s at most; what the supervisor has not stopped by then is killed.
STOP_S = 18.5


class Interrupted(Exception):
    """A signal came while we waited for something else."""


def run(interrupt: Interrupt) -> int:
    """Run until a signal comes. Returns the exit status."""
    preflight.keep_private()
    try:
        preflight.check()
        here = settings.get()
        here = here.model_copy(update={"data": here.data.absolute()})
        checks.check_settings(here)
        with owner.owned(here.data):
            _run_in(here, interrupt)
    except (LaunchError, BadSettings) as error:
        fail(str(error))
        return 1
    return 0


def _run_in(here: Settings, interrupt: Interrupt) -> None:
    if remains := owner.find(here.data):
        say(f"ending what an interrupted run left behind ({len(remains)} processes)")
        owner.end(here.data)
    checks.check_ports(here)
    server = (
        None if "redis_url" in here.model_fields_set else valkey.embedded(here.data, maxmemory=here.valkey_maxmemory)
    )
    warnings = list(checks.key_warnings(here)) + (checks.check_redis(here.redis_url) if server is None else [])
    for line in warnings:
        warn(line)
    Launch(environment.complete(here, server), interrupt).run()


class Launch:
    """One run of everything."""

    def __init__(self, around: Surroundings, interrupt: Interrupt) -> None:
        self._here = around.here
        self._server = around.server
        self._interrupt = interrupt
        self._programs = _programs(around)
        self._supervisor = Supervisor(self._here.data, self._programs, environment.of_children(self._here))
        names = ["supervisord", *(one.name for one in self._programs)]
        self._followers = [Follower(self._log(name), name) for name in names]
        self._announcement: Announcement | None = None
        self._erasure = None if self._server is None else Erasure(self._server.directory, self._server.url)
        redis = connection.connect(self._here.redis_url)
        self._keys = KeyWatch(Access(redis, breaker=Breaker.of(self._here)))

    def run(self) -> None:
        """Start, watch until a signal comes, stop. Raises LaunchError when it could not start or broke."""
        try:
            self._start_and_watch()
        except Interrupted:
            say("\nstopping: web, workers, then Valkey" if self._server else "\nstopping: web, then workers")
        finally:
            self._stop()

    def _start_and_watch(self) -> None:
        try:
            self._start()
            for line in greeting.lines(self._here, self._fleet()):
                say(line)
            self._watch()
        except LaunchError as error:
            # Ctrl-C goes to the whole process group: a supervisor that has no session of its own yet dies of it.
            if self._interrupt.wait(0):
                raise Interrupted from error
            raise

    def _start(self) -> None:
        say(f"starting: {', '.join(one.name for one in self._programs)}")
        if self._server is not None:
            self._server.configure()
        self._supervisor.start()
        for one in self._programs:
            self._supervisor.launch(one)
            if one.name == "valkey":
                self._until(self._store_is_up, one.name)
        fleet = self._fleet()
        if checks.has_engine(self._here):
            self._announcement = Announcement(self._here, fleet)
        elif self._server is not None:
            # Nobody else reaches this Redis: an engine that was here once, and is not installed now, does not come.
            fleet.forget_served(serving.local_queues(fleet.served()))
        self._until(lambda: _answers(f"{greeting.base_url(self._here)}/readyz"), "web")
        self._until(lambda: _answers(greeting.flower_url(self._here)), "flower")

    def _watch(self) -> None:
        while True:
            self._keys.look()
            self._pause(TICK_S)
            if not self._supervisor.is_alive():
                raise LaunchError(f"the supervisor ended: see {self._log('supervisord')}; make run starts afresh")
            for follower in self._followers:
                for line in follower.look():
                    say(line)
            if self._erasure is not None:
                self._erasure.tick()
            # A supervisor that is slow to answer is asked again.
            with contextlib.suppress(LaunchError):
                self._supervisor.revive()

    def _stop(self) -> None:
        if self._announcement is not None:
            self._announcement.end()
        in_order = self._supervisor.stop(STOP_S)
        if killed := owner.kill(self._here.data):
            warn(f"had to be killed: {', '.join(name or 'supervisor' for name in killed)}")
        self._supervisor.remove_socket()
        if in_order:
            say("stopped")

    def _fleet(self) -> Fleet:
        return Fleet(connection.connect(self._here.redis_url), lease_s=self._here.lease_s)

    def _until(self, condition: Callable[[], bool], name: str) -> None:
        ends_at = time.monotonic() + START_S
        while not condition():
            self._pause(LOOK_S)
            if self._is_reading():
                ends_at = time.monotonic() + START_S
            if time.monotonic() > ends_at or not self._supervisor.is_alive() or self._supervisor.has_failed(name):
                raise LaunchError(
                    f"{name} does not start: {last_line(self._log(name)) or 'no word'} (all of it: {self._log(name)})"
                )

    def _pause(self, seconds: float) -> None:
        if self._announcement is not None:
            self._announcement.tick()
        if self._interrupt.wait(seconds):
            raise Interrupted

    def _store_is_up(self) -> bool:
        return self._server is None or self._server.state() == "up"

    def _is_reading(self) -> bool:
        return self._server is not None and self._server.state() == "loading"

    def _log(self, name: str) -> Path:
        return self._here.data / "logs" / f"{name}.log"


def _answers(url: str) -> bool:
    # No proxy stands between us and our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == http.client.OK)
    except (OSError, http.client.HTTPException):
        return False


def _programs(around: Surroundings) -> list[Program]:
    """What is to run, in the order of the start: the web comes last, it would refuse without a store."""
    found = [] if around.server is None else [programs.store(around.server)]
    if around.sandbox_port is not None:
        found.append(programs.sandbox(around.sandbox_port))
    found.append(programs.api_worker(around.here))
    if checks.has_engine(around.here):
        found.append(programs.gpu_worker(around.here))
    return [*found, programs.flower(around.here), programs.web()]
