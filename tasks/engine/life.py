"""One life of an engine, from its process to the reason why it ended."""

from __future__ import annotations

import time

from tasks.engine.config import EngineConfig
from tasks.engine.probe import Answer, Liveness, Probe
from tasks.engine.process import EngineProcess
from tasks.engine.signals import Signals

#: How often a loading engine is asked whether it is ready.
LOADING_POLL_S = 0.25
#: Between a failed probe and the next one.
DOUBT_S = 0.5


class Life:
    """Watches one process; for the supervisor's thread. Begins when it is made."""

    def __init__(self, process: EngineProcess, config: EngineConfig, signals: Signals) -> None:
        self._process = process
        self._config = config
        self._signals = signals
        self._began_at = time.monotonic()

    @property
    def age_s(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self._began_at

    def load(self) -> str | None:
        """Wait until it answers; returns why it will not."""
        with self._probe() as probe:
            while self.age_s < self._config.start_timeout_s:
                if why := self._ended():
                    return why
                if probe.is_up() and probe.ask() is Answer.GOOD:
                    return None
                self._signals.pause(LOADING_POLL_S)
        return f"not ready after {self._config.start_timeout_s:.0f} s"

    def watch(self) -> str:
        """Wait until it is lost; returns how."""
        with self._probe() as probe:
            return self._watch(Liveness(probe, lambda: self._signals.heard_at))

    def _watch(self, liveness: Liveness) -> str:
        while True:
            self._signals.pause(DOUBT_S if liveness.in_doubt else self._config.probe_interval_s)
            if why := self._ended():
                return why
            quiet = time.monotonic() - self._signals.heard_at >= self._config.probe_interval_s
            if (self._signals.take_suspicion() or liveness.in_doubt or quiet) and not liveness.check():
                return self._ended() or "it does not answer any more"

    def _ended(self) -> str | None:
        if self._signals.halted:
            return "stopped"
        status = self._process.exit_status
        return None if status is None else f"it ended with status {status}; see {self._config.run_dir / 'engine.log'}"

    def _probe(self) -> Probe:
        served_name, timeout_s = self._config.served_names[0], self._config.probe_timeout_s
        return Probe(
            self._process.base_url,
            served_name=served_name,
            timeout_s=timeout_s,
            embeds=self._config.embeds,
            api_key=self._process.api_key,
        )
