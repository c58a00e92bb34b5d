"""The engine's command line and environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.engine.command import arguments, cpu_dtype, environment
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


def seen_by(config: EngineConfig, environ: dict[str, str]) -> dict[str, str]:
    return environment(config, environ, Path("/scratch"), api_key="of-this-start")


def test_an_engine_gets_what_it_needs_and_nothing_else() -> None:
    needed = {
        "HOME": "/h",
        "LC_ALL": "C",
        "HF_TOKEN": "t",
        "https_proxy": "p",
        "NCCL_DEBUG": "INFO",
        "VLLM_USE_V1": "1",
    }
    foreign = ["AWS_SECRET_ACCESS_KEY", "NVIDIA_API_KEY", "GITHUB_TOKEN", "PGPASSWORD", "SSH_AUTH_SOCK", "MY_SECRET",
               "PYTHONPATH", "TANDEM_API_KEYS", "REDIS_URL", "PROMETHEUS_MULTIPROC_DIR", "VIRTUAL_ENV"]  # fmt: skip
    environ = needed | dict.fromkeys(foreign, "x")
    seen = seen_by(make(), environ)
    assert seen.items() >= needed.items()
    assert not seen.keys() & set(foreign)
    named = seen_by(make(further_env=("AWS_SECRET_ACCESS_KEY",)), environ)
    assert named.keys() - seen.keys() == {"AWS_SECRET_ACCESS_KEY"}


def test_the_key_of_a_start_wins_over_one_that_is_inherited_and_is_not_on_the_command_line() -> None:
    assert seen_by(make(), {"VLLM_API_KEY": "everybodys"})["VLLM_API_KEY"] == "of-this-start"
    assert "--api-key" not in arguments(make(), 23456)


def test_a_gpu_is_named_by_its_uuid_for_the_engine_alone() -> None:
    seen = seen_by(make(), {"CUDA_VISIBLE_DEVICES": "3", "PATH": "/bin"})
    assert seen["CUDA_VISIBLE_DEVICES"] == UUID
    assert "VLLM_CPU_KVCACHE_SPACE" not in seen


def test_the_cpu_engine_is_given_no_gpu_and_little_memory() -> None:
    seen = seen_by(make(device="cpu"), {"CUDA_VISIBLE_DEVICES": "3"})
    assert "CUDA_VISIBLE_DEVICES" not in seen
    assert seen["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert seen_by(make(device="cpu"), {"VLLM_CPU_KVCACHE_SPACE": "4"})["VLLM_CPU_KVCACHE_SPACE"] == "4"


def test_the_hub_is_shut_off_only_for_a_local_model(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" not in seen_by(make(), {})
    assert seen_by(make(model=str(tmp_path)), {})["HF_HUB_OFFLINE"] == "1"


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


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [("flags : fpu avx512f amx_bf16 amx_tile amx_int8", "float32"), ("flags : fpu avx2", "bfloat16")],
)
def test_a_processor_with_amx_computes_in_float32(tmp_path: Path, flags: str, dtype: str) -> None:
    """In bfloat16 vLLM's attention would end the process there."""
    (tmp_path / "cpuinfo").write_text(flags)
    assert cpu_dtype(tmp_path / "cpuinfo") == dtype
    assert cpu_dtype(tmp_path / "nothing") == "bfloat16"
