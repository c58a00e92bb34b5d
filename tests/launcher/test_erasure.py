"""What was erased does not stay on disk for ever, and nobody else reads the folder it lies in."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.launcher import owner
from tasks.launcher.erasure import KEPT_S, Erasure
from tests.support.polling import until
from tests.support.valkey import Valkey

CANARY = "canary-8d1e"


@pytest.fixture
def erased(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey that was told to forget the canary."""
    server = Valkey(tmp_path / "valkey").start()
    server.client.set("prompt", CANARY)
    server.client.delete("prompt")
    yield server
    server.stop()


def test_after_a_day_what_was_erased_is_gone_from_the_log(erased: Valkey) -> None:
    assert _is_on_disk(erased)
    _age(erased, KEPT_S + 60)
    Erasure(erased.data, erased.url).tick()
    until(lambda: not _is_on_disk(erased), within_s=20)


def test_before_that_the_log_is_left_alone(erased: Valkey) -> None:
    _age(erased, KEPT_S - 600)
    Erasure(erased.data, erased.url).tick()
    assert erased.client.info("persistence")["aof_rewrite_in_progress"] == 0
    assert _is_on_disk(erased)


def test_a_valkey_that_is_away_is_no_fault(erased: Valkey) -> None:
    _age(erased, KEPT_S + 60)
    erased.kill()
    Erasure(erased.data, erased.url).tick()


@pytest.mark.parametrize("mode", [None, 0o755, 0o770, 0o700])
def test_the_data_folder_is_ours_alone_also_when_it_was_there(tmp_path: Path, mode: int | None) -> None:
    data = tmp_path / "data"
    if mode is not None:
        data.mkdir()
        data.chmod(mode)
    with owner.owned(data):
        assert stat.S_IMODE(data.stat().st_mode) == 0o700


def _is_on_disk(server: Valkey) -> bool:
    return any(CANARY.encode() in path.read_bytes() for path in (server.data / "appendonlydir").glob("*.aof"))


def _age(server: Valkey, seconds: float) -> None:
    (base,) = (server.data / "appendonlydir").glob("*.base.*")
    os.utime(base, (time.time() - seconds,) * 2)
