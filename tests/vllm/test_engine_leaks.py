"""Ten starts and stops leave nothing on the machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.engine.config import State
from tests.vllm import real
from tests.vllm.real import Real

#: Two engines side by side: most of a start is imports on one core.
ROUNDS, ENGINES = 5, 2
#: What shortens a start: no warming up of a large batch.
CHEAP = ("--max-num-seqs", "1", "--max-model-len", "64", "--max-num-batched-tokens", "64")


@pytest.mark.timeout(900)
def test_ten_starts_leak_no_process_no_socket_and_no_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.require()
    temporary = tmp_path.parent / "t"  # short: sockets live in it
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = shared_memory()
    subjects = [Real(tmp_path / str(number), *CHEAP) for number in range(ENGINES)]
    with ThreadPoolExecutor(ENGINES) as pool:
        for number in range(ROUNDS):
            # One is ended in good order and one is killed, which leaves most; they take turns.
            graces = [30, 0] if number % 2 else [0, 30]
            list(pool.map(start_and_stop, subjects, graces))
            assert list(temporary.iterdir()) == []
    # Any other engine that runs beside this test adds to it too: nothing tells whose a semaphore is.
    assert shared_memory() - before == set()


def start_and_stop(subject: Real, grace_s: float) -> None:
    subject.make_ready()
    subject.engine.stop(grace_s)
    assert subject.engine.state is State.STOPPED
    assert subject.traces.processes() == []
    assert subject.states == [State.LOADING, State.READY, *([State.DRAINING] if grace_s else []), State.STOPPED]
    subject.states.clear()


def shared_memory() -> set[str]:
    """What lies in /dev/shm, but for what the fakes of other tests put there."""
    return {file.name for file in Path("/dev/shm").iterdir() if not file.name.startswith("psm_fake")}
