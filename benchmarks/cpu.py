"""CPU time of the processes under measurement: all that descend from this one, by what they are."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import psutil

#: What a command line holds → what the process is called here. The first that fits counts.
KNOWN = {
    "EngineCore": "EngineCore",
    "VLLM::Worker": "vLLM's worker",
    "vllm": "vLLM's API server",
    "benchmarks.bare": "bare gunicorn",
    "gunicorn": "gunicorn",
    "sandbox": "sandbox",
    "celery": "worker",
    "valkey": "valkey",
}


def spent_ms() -> Counter[str]:
    """CPU time so far, by kind of process. Subtract an earlier reading."""
    spent: Counter[str] = Counter()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = process.cpu_times()
            spent[_kind(process)] += round((times.user + times.system) * 1000)
    return spent


def _kind(process: psutil.Process) -> str:
    command = " ".join([process.name(), *process.cmdline()])
    return next((name for word, name in KNOWN.items() if word in command), "others")
