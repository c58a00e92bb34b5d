"""The GPUs of this machine, if it has any."""

from __future__ import annotations

import pytest

from tasks.engine import devices


@pytest.mark.parametrize("visible", ["", "0", "GPU-12345678"])
def test_the_devices_do_not_depend_on_what_this_process_may_use(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = devices.find()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.find() == everything
    assert all(device.uuid.startswith("GPU-") and device.memory_bytes > 0 for device in everything)
