"""The command line and the environment of one `vllm serve`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tasks.engine import inherited, tied
from tasks.engine.config import CPU, EngineConfig

#: Carried by every process of an engine; the value is its run_dir. This is how they are found again.
MARKER = "TANDEM_ENGINE"
#: An engine on the CPU spins on every core while it works: at the same priority, whoever feeds it waits for a time
#: slice at each of the dozens of small steps that a job takes, and the engine runs half empty.
CPU_NICE = 10
#: The flag of a processor with AMX. vLLM 0.32 computes attention in bfloat16 with it and does not ask the kernel for
#: its tiles first: unless something else in the process has, the engine dies at its first request (SIGILL).
AMX = "amx_tile"
CPUINFO = Path("/proc/cpuinfo")


def arguments(config: EngineConfig, port: int) -> list[str]:
    """The whole command line. What supervision rests on comes last, where nothing overrides it."""
    cpu = ["--enforce-eager", "--dtype", cpu_dtype(CPUINFO)] if config.device == CPU else []
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


def cpu_dtype(cpuinfo: Path) -> str:
    """The type of numbers that an engine on this processor computes with."""
    try:
        flags = cpuinfo.read_text().split()
    except OSError:
        return "bfloat16"
    return "float32" if AMX in flags else "bfloat16"


def environment(config: EngineConfig, environ: Mapping[str, str], scratch: Path, *, api_key: str) -> dict[str, str]:
    """What the engine sees. `scratch` is a folder with a short path for its sockets and temporary files; requests to
    /v1 must show `api_key`, which is here because everybody on the machine can read a command line."""
    kept = inherited.taken(environ, config.further_env)
    kept.pop("CUDA_VISIBLE_DEVICES", None)
    # Compilers that vLLM calls while it runs (ninja) are in its own environment.
    path = {"PATH": f"{config.executable.absolute().parent}:{environ.get('PATH', os.defpath)}"}
    key = {"VLLM_API_KEY": api_key}
    return kept | path | key | _device(config, environ) | _offline(config) | _fixed(config, scratch)


def _device(config: EngineConfig, environ: Mapping[str, str]) -> dict[str, str]:
    if config.device == CPU:
        # In GiB. The default takes most of the machine's memory.
        return {"VLLM_CPU_KVCACHE_SPACE": environ.get("VLLM_CPU_KVCACHE_SPACE", "1")}
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
