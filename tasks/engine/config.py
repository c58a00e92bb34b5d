"""What an engine is told, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: The device of an engine that has no GPU.
CPU = "cpu"


class State(StrEnum):
    """Where one engine stands."""

    STOPPED = "stopped"
    LOADING = "loading"
    READY = "ready"
    #: It died or hung, or could not be started; another start follows.
    BROKEN = "broken"
    #: `stop` was called: what is in flight may finish.
    DRAINING = "draining"


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """One `vllm serve`. `run_dir` is this engine's own: its lock, record and logs; two engines never share one.

    `model` is a Hugging Face id or a local path, `device` a CUDA UUID (GPU-…) or "cpu". `extra_args` may override what
    tunes the engine, not what supervision rests on. `shutdown_timeout_s` is the longest time that vLLM itself lets
    requests finish after SIGTERM; `Engine.stop` may cut it shorter.
    """

    model: str
    served_names: tuple[str, ...]
    device: str
    executable: Path
    run_dir: Path
    extra_args: tuple[str, ...] = ()
    #: Variables that it takes over beside those in inherited.py.
    further_env: tuple[str, ...] = ()
    #: The model makes vectors. vLLM must be told, and can be probed for nothing else then.
    embeds: bool = False
    max_num_seqs: int = 64
    start_timeout_s: float = 900
    shutdown_timeout_s: float = 30
    #: A quiet engine is probed so often; one whose answers are reported (`Engine.alive_hint`) is not probed at all.
    probe_interval_s: float = 5
    #: Generous: an engine at work may let a one-token request wait.
    probe_timeout_s: float = 15
    #: The pause before a restart, doubled up to the cap each time that the engine does not get ready.
    backoff_s: float = 1
    backoff_cap_s: float = 60

    @property
    def is_local(self) -> bool:
        """Whether the model lies on this machine, so that no hub is needed."""
        return Path(self.model).exists()
