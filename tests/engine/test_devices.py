"""The GPUs of this machine, as NVIDIA's library tells of them: most have none, so its answers are given here."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from tasks.engine import devices
from tasks.engine.devices import Device

TWO = [
    Device(uuid="GPU-1111", name="NVIDIA H100 80GB HBM3", memory_bytes=80 * 2**30),
    Device(uuid="GPU-2222", name="NVIDIA A10", memory_bytes=24 * 2**30),
]


class Driver:
    """NVML with two devices. Names and ids come as bytes, as older bindings give them, or as text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, as_bytes: bool = False) -> None:
        self.open = 0
        said = (lambda text: text.encode()) if as_bytes else str
        answers = {
            "nvmlInit": self._init,
            "nvmlShutdown": self._shut_down,
            "nvmlDeviceGetCount": lambda: len(TWO),
            "nvmlDeviceGetHandleByIndex": lambda index: TWO[index],
            "nvmlDeviceGetUUID": lambda device: said(device.uuid),
            "nvmlDeviceGetName": lambda device: said(device.name),
            "nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(total=device.memory_bytes),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(pynvml, name, answer)

    def _init(self) -> None:
        self.open += 1

    def _shut_down(self) -> None:
        self.open -= 1


@pytest.mark.parametrize("as_bytes", [False, True])
def test_every_device_is_found_and_the_library_is_let_go(monkeypatch: pytest.MonkeyPatch, as_bytes: bool) -> None:
    driver = Driver(monkeypatch, as_bytes=as_bytes)
    assert devices.find() == TWO
    assert driver.open == 0


def test_the_library_is_let_go_when_a_device_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch)

    def lost(handle: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lost)
    with pytest.raises(pynvml.NVMLError):
        devices.find()
    assert driver.open == 0


def test_without_a_driver_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert devices.find() == []


@pytest.mark.parametrize("visible", ["", "0", "GPU-12345678"])
def test_the_devices_do_not_depend_on_what_this_process_may_use(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine's own library, whether it has devices or none."""
    everything = devices.find()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.find() == everything
    assert all(device.uuid.startswith("GPU-") and device.memory_bytes > 0 for device in everything)
