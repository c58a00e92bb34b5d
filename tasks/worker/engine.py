"""The gpu worker's engine: consumes only while it is ready, and tells the fleet how it is."""

from __future__ import annotations

import dataclasses
import shlex

import structlog

from tasks import catalog, serving, settings
from tasks.engine import loading
from tasks.engine.config import EngineConfig, State
from tasks.engine.server import Engine
from tasks.process import WorkerProcess
from tasks.serving import CPU_MODEL, Serving
from tasks.worker.beat import Beat
from tasks.worker.gate import Gate

log = structlog.get_logger()


def config() -> EngineConfig:
    """The engine that this process' settings ask for."""
    here = settings.get()
    path = here.model or str((here.models_dir / CPU_MODEL).resolve())
    model_id = serving.local_model(here)
    known = catalog.known_to(serving.LOCAL, model_id)
    return EngineConfig(
        model=path,
        served_names=(model_id,) if model_id == path else (model_id, path),
        device=here.device,
        executable=here.vllm_executable.absolute(),
        run_dir=loading.run_dir(here.data, here.device),
        extra_args=tuple(shlex.split(here.vllm_args)),
        further_env=tuple(settings.words(here.vllm_env)),
        embeds=known is not None and known.can("embedding"),
        max_num_seqs=here.gpu_concurrency,
    )


class EngineKeeper:
    """Starts the engine, opens the gate when it is ready, shuts it when it is not."""

    def __init__(self, here: WorkerProcess, gate: Gate, beat: Beat) -> None:
        self._here = here
        self._gate = gate
        self._beat = beat
        self._beat.model = serving.local_model(settings.get())
        self._beat.state = State.LOADING.value
        self._engine = Engine(config(), on_state=self._changed)
        self._beat.ready_in_s = loading.last_s(self._engine.config.run_dir)
        here.on_engine_lost = self._engine.suspect
        here.on_engine_answer = self._engine.alive_hint

    def start(self) -> None:
        """Begin to load. Returns at once."""
        self._engine.start()

    def stop(self, grace_s: float) -> None:
        """Stop the engine; it is killed after `grace_s`."""
        self._engine.stop(grace_s)

    def _changed(self, state: State) -> None:
        ready = state is State.READY
        if ready:
            self._here.engine_turn.begin(self._engine.loading_s or 0.0)
        self._serve(self._engine.base_url if ready else None)
        (self._gate.open if ready else self._gate.shut)()
        if self._engine.loading_s is not None:
            loading.remember(self._engine.config.run_dir, self._engine.loading_s)
        self._beat.state = state.value
        self._beat.ready_in_s = loading.last_s(self._engine.config.run_dir) if state is State.LOADING else 0.0
        log.info("engine.state", worker=self._here.name, state=state.value)
        self._beat.say_hello_soon()

    def _serve(self, base_url: str | None) -> None:
        url = f"{base_url}/v1" if base_url else ""
        before = self._here.servings
        key = self._engine.api_key
        self._here.servings = tuple(dataclasses.replace(one, base_url=url, api_key=key) for one in before)
        for one in before:
            if one.base_url not in ("", url):
                _leave(one)


def _leave(life: Serving) -> None:
    """Let go of the connections to an engine's life: the next has another port. Calls that still run keep theirs."""
    serving.provider(life.provider, life.base_url, life.api_key).close()
    # A worker with an engine asks nobody else.
    serving.provider.cache_clear()
