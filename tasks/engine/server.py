"""One supervised `vllm serve`: started, watched, restarted with backoff, drained."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from tasks.engine.claim import Claim
from tasks.engine.config import EngineConfig, State
from tasks.engine.life import Life
from tasks.engine.process import EngineProcess
from tasks.engine.signals import Signals
from tasks.engine.traces import Traces

log = structlog.get_logger()

#: What `stop` may take beyond its grace.
KILL_S = 5


class Engine:
    """The engine of one device. All methods may be called from any thread; none of them raises.

    `on_state` is told of every change, from the supervisor's thread or from `stop`'s caller, and must not block. Where
    two changes come at once, `state` is the truth.
    """

    def __init__(self, config: EngineConfig, *, on_state: Callable[[State], None]) -> None:
        self.config = config
        self.state = State.STOPPED
        #: http://127.0.0.1:port while READY or DRAINING; another port after each restart.
        self.base_url: str | None = None
        #: What requests to it must show meanwhile; another one after each restart.
        self.api_key = ""
        #: How long the last successful start took.
        self.loading_s: float | None = None
        #: Why the last engine was lost, for people.
        self.why_lost: str | None = None
        self._on_state = on_state
        self._claim = Claim(config.run_dir)
        self._process: EngineProcess | None = None
        self._supervisor: threading.Thread | None = None
        self._lock = threading.RLock()
        self._signals = Signals()
        self._was_ready = False

    # ---- for the worker -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to supervise; returns at once. Nothing if it is being supervised already."""
        with self._lock:
            if self._supervisor is not None:
                return
            self._signals.begin()
            self._supervisor = threading.Thread(target=self._supervise, name="engine", daemon=True)
            self._supervisor.start()

    def stop(self, grace_s: float) -> None:
        """End it; returns when it is gone, after `grace_s` + 5 s at the latest. Safe to repeat.

        A ready engine refuses new requests and gets `grace_s` to finish those in flight; it is killed after that. Any
        other is killed at once.
        """
        deadline = time.monotonic() + grace_s + KILL_S
        with self._lock:
            supervisor, process = self._supervisor, self._process
            drains = self.state is State.READY and grace_s > 0
            first = not self._signals.halted
            self._signals.halt()
        if supervisor is None:
            return
        if process is not None and first:
            if drains:
                self._enter(State.DRAINING)
                process.ask_to_end()
                process.wait(grace_s)
            process.clear()
        supervisor.join(max(0.0, deadline - time.monotonic()))

    def suspect(self) -> None:
        """A caller lost a request: probe now, not at the next interval."""
        if self.state is State.READY:
            self._signals.suspect()

    def alive_hint(self) -> None:
        """A caller just got an answer: as good as a probe."""
        self._signals.hear()

    # ---- the supervisor -----------------------------------------------------------------------

    def _supervise(self) -> None:
        backoff_s = self.config.backoff_s
        while not self._signals.halted:
            self._was_ready = False
            self.why_lost = self._run()
            if self._was_ready:  # a request killed it, most likely: the others are not to wait ever longer for that
                backoff_s = self.config.backoff_s
            if not self._signals.halted:
                self._enter(State.BROKEN)
                log.warning("engine.lost", device=self.config.device, why=self.why_lost, retry_in_s=backoff_s)
            self._signals.back_off(backoff_s)
            backoff_s = min(backoff_s * 2, self.config.backoff_cap_s)
        self._claim.release()
        self._enter(State.STOPPED)
        with self._lock:
            self._supervisor = None

    def _run(self) -> str:
        """One life of the engine; returns why it ended."""
        try:
            if (process := self._spawn()) is None:
                return "stopped"
            try:
                why = self.why_lost = self._live(process, Life(process, self.config, self._signals))
                return why
            finally:
                self._bury(process)
        except OSError as error:
            return str(error)

    def _live(self, process: EngineProcess, life: Life) -> str:
        if why := life.load():
            return why
        self._be_ready(process, life.age_s)
        return life.watch()

    def _spawn(self) -> EngineProcess | None:
        self._claim.take()
        if killed := Traces(self.config.run_dir).clear():
            log.warning("engine.orphans_killed", device=self.config.device, processes=killed)
        with self._lock:  # `stop` sees either no process, or this one
            if self._signals.halted:
                return None
            self._process = EngineProcess(self.config, on_exit=self._signals.wake)
        self._enter(State.LOADING)
        log.info("engine.loading", device=self.config.device, model=self.config.model, port=self._process.port)
        return self._process

    def _be_ready(self, process: EngineProcess, loading_s: float) -> None:
        process.note_shared_memory()
        self.loading_s = loading_s
        self.api_key = process.api_key
        self.base_url = process.base_url
        self._was_ready = True
        self._signals.hear()
        self._signals.take_suspicion()  # of the life before this one
        self._enter(State.READY)
        log.info("engine.ready", device=self.config.device, model=self.config.model, loading_s=round(loading_s, 1))

    def _bury(self, process: EngineProcess) -> None:
        self._enter(State.BROKEN)  # before the killing, which may take seconds: nobody shall send anything meanwhile
        if self._signals.halted:
            process.wait()  # `stop` drains and kills; the engine would take the end of this thread for a second SIGTERM
        process.clear()
        with self._lock:
            self._process = None

    def _enter(self, state: State) -> None:
        with self._lock:
            if state is self.state or (self._signals.halted and state not in (State.DRAINING, State.STOPPED)):
                return
            self.state = state
            if state not in (State.READY, State.DRAINING):
                self.base_url = None
        try:
            self._on_state(state)
        except Exception:
            log.exception("engine.listener_failed", state=state)
