"""The GPUs of this machine."""

from __future__ import annotations

from dataclasses import dataclass

import pynvml


@dataclass(frozen=True, kw_only=True)
class Device:
    """One GPU. `uuid` (GPU-…) goes into CUDA_VISIBLE_DEVICES as it is; indexes change with the order of the bus."""

    uuid: str
    name: str
    memory_bytes: int


def find() -> list[Device]:
    """Every GPU that NVML shows; none when there is no NVIDIA driver. CUDA_VISIBLE_DEVICES is not looked at."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_describe(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _describe(handle: object) -> Device:
    return Device(
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _text(value: str | bytes) -> str:
    """Older bindings give bytes."""
    return value.decode() if isinstance(value, bytes) else value
