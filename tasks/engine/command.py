"""The command line and the environment of one `vllm serve`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tasks.engine import tied
from tasks.engine.config import CPU, EngineConfig

#: Carried by every process of an engine; the value is its run_dir. This is how they are found again.
MARKER = "TANDEM_ENGINE"
#: Variables with these beginnings are the service's own. PROMETHEUS_: vLLM would write into the service's metrics.
OURS = ("TANDEM_", "PROMETHEUS_", "REDIS_", "CELERY_", "FLOWER_", "FLASK_", "GUNICORN_")
#: Whatever has one of these in its name is somebody's secret.
SECRETS = ("API_KEY", "PASSWORD")
#: These would bend the Python of the engine's environment to the service's.
PYTHONS = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "__PYVENV_LAUNCHER__"})
#: An engine on the CPU spins on every core while it works: at the same priority, whoever feeds it waits for a time
#: slice at each of the dozens of small steps that a job takes, and the engine runs half empty.
CPU_NICE = 10


def arguments(config: EngineConfig, port: int) -> list[str]:
    """The whole command line. What supervision rests on comes last, where nothing overrides it."""
    cpu = ["--enforce-eager", "--dtype", "bfloat16"] if config.device == CPU else []
    return [
        *(sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), str(CPU_NICE if config.device == CPU else 0)),
        *(str(config.executable.absolute()), "serve", config.model),
        *("--max-num-seqs", str(config.max_num_seqs)),
        # Items of batches let single jobs overtake them; without it the engine ignores their word for that.
        *("--scheduling-policy", "priority"),
        *(["--runner", "pooling"] if config.embeds else []),
        *cpu,
        *config.extra_args,
        *("--served-model-name", *config.served_names),
        *("--host", "127.0.0.1", "--port", str(port)),
        # With the default of 0 a request in flight ends as a cut text with HTTP 200, as a 500 or in a hang.
        *("--shutdown-timeout", str(int(config.shutdown_timeout_s))),
        # Prompts never reach the log, and a line per request would fill the disk.
        *("--no-enable-log-requests", "--disable-uvicorn-access-log"),
    ]


def environment(config: EngineConfig, inherited: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """What the engine sees. `scratch` is a folder with a short path for its sockets and temporary files."""
    kept = {name: value for name, value in inherited.items() if not _withheld(name)}
    # Compilers that vLLM calls while it runs (ninja) are in its own environment.
    path = {"PATH": f"{config.executable.absolute().parent}:{inherited.get('PATH', os.defpath)}"}
    return kept | path | _device(config, inherited) | _offline(config) | _fixed(config, scratch)


def _withheld(name: str) -> bool:
    return name.startswith(OURS) or name in PYTHONS or name == "CUDA_VISIBLE_DEVICES" or any(s in name for s in SECRETS)


def _device(config: EngineConfig, inherited: Mapping[str, str]) -> dict[str, str]:
    if config.device == CPU:
        # In GiB. The default takes most of the machine's memory.
        return {"VLLM_CPU_KVCACHE_SPACE": inherited.get("VLLM_CPU_KVCACHE_SPACE", "1")}
    return {"CUDA_VISIBLE_DEVICES": config.device}


def _offline(config: EngineConfig) -> dict[str, str]:
    return {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if config.is_local else {}


def _fixed(config: EngineConfig, scratch: Path) -> dict[str, str]:
    return {
        MARKER: str(config.run_dir.resolve()),
        # vLLM renames its processes; without this the new name is written over the environment, and with it the marker.
        "SPT_NOENV": "1",
        # Each start leaves about seven sockets and a rendezvous file behind: here they are ours to remove.
        "VLLM_RPC_BASE_PATH": str(scratch),
        "TMPDIR": str(scratch),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
