"""The engine's command line and environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.engine.command import arguments, environment
from tasks.engine.config import EngineConfig

UUID = "GPU-12345678-1234-1234-1234-123456789abc"


def make(**changes: Any) -> EngineConfig:
    settings: dict[str, Any] = {
        "model": "organisation/model",
        "served_names": ("organisation/model", "default"),
        "device": UUID,
        "executable": Path("/engine/bin/vllm"),
        "run_dir": Path("/run/engine"),
    }
    return EngineConfig(**settings | changes)


def test_a_gpu_is_named_by_its_uuid_for_the_engine_alone() -> None:
    seen = environment(make(), {"CUDA_VISIBLE_DEVICES": "3", "PATH": "/bin"}, Path("/scratch"))
    assert seen["CUDA_VISIBLE_DEVICES"] == UUID
    assert "VLLM_CPU_KVCACHE_SPACE" not in seen


def test_the_cpu_engine_is_given_no_gpu_and_little_memory() -> None:
    seen = environment(make(device="cpu"), {"CUDA_VISIBLE_DEVICES": "3"}, Path("/scratch"))
    assert "CUDA_VISIBLE_DEVICES" not in seen
    assert seen["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert environment(make(device="cpu"), {"VLLM_CPU_KVCACHE_SPACE": "4"}, Path("/s"))["VLLM_CPU_KVCACHE_SPACE"] == "4"


def test_the_hub_is_shut_off_only_for_a_local_model(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" not in environment(make(), {}, Path("/scratch"))
    assert environment(make(model=str(tmp_path)), {}, Path("/scratch"))["HF_HUB_OFFLINE"] == "1"


def test_extra_arguments_cannot_override_what_supervision_rests_on() -> None:
    line = arguments(make(extra_args=("--host", "0.0.0.0", "--shutdown-timeout", "0", "--max-num-seqs", "8")), 23456)

    def last(option: str) -> str:
        return line[len(line) - line[::-1].index(option)]

    assert last("--host") == "127.0.0.1"
    assert last("--port") == "23456"
    assert last("--shutdown-timeout") == "30"
    assert last("--max-num-seqs") == "8"


def test_the_engine_knows_priorities_unless_its_operator_wants_none() -> None:
    named = "--scheduling-policy"
    line = arguments(make(), 23456)
    assert line[line.index(named) + 1] == "priority"
    own = arguments(make(extra_args=(named, "fcfs")), 23456)
    assert own[len(own) - own[::-1].index(named)] == "fcfs"
