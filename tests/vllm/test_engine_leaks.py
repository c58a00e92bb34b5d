"""Ten starts and stops leave nothing on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.engine.config import State
from tests.support.polling import until
from tests.vllm import real
from tests.vllm.real import Real

ROUNDS = 10
#: What shortens a start: no warming up of a large batch, a small cache.
CHEAP = ("--max-num-seqs", "1", "--max-model-len", "64", "--max-num-batched-tokens", "64")


@pytest.mark.timeout(1200)
def test_ten_rounds_leak_no_process_no_socket_and_no_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.require()
    temporary = tmp_path.parent / "t"  # short: sockets live in it
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = shared_memory()
    subject = Real(tmp_path, *CHEAP)
    for number in range(ROUNDS):
        subject.make_ready()
        # Killed in every second round, which leaves most; ended in good order in the others.
        subject.engine.stop(0 if number % 2 else 30)
        assert subject.engine.state is State.STOPPED
        assert subject.traces.processes() == []
        assert list(temporary.iterdir()) == []
    until(lambda: not shared_memory() - before, within_s=5, what="an empty /dev/shm")


def shared_memory() -> set[str]:
    """What lies in /dev/shm, but for what the fakes of other tests put there."""
    return {file.name for file in Path("/dev/shm").iterdir() if not file.name.startswith("psm_fake")}
