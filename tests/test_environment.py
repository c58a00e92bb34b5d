"""Whatever is set where a test run is started, the tests do not see it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import environment
from tests.launcher.test_env_example import FIELDS

ROOT = Path(__file__).parents[1]
SET = {
    "TANDEM_PORT": "51405", "TANDEM_DATA": "/nowhere", "TANDEM_MODEL": "a/b", "TANDEM_API_KEYS": "no key",
    "redis_url": "redis://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1", "LOG_LEVEL": "loud",
    "NVIDIA_API_KEY": "nvapi-real", "CELERY_BROKER_URL": "redis://127.0.0.1:1",
}  # fmt: skip
#: One that reads variables without any fixture, and one that reads them all.
SENSITIVE = ["tests/engine/test_install.py::test_settings_come_from_the_environment_then_from_the_env_file",
             "tests/test_environment.py::test_no_variable_is_set"]  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_no_variable_that_is_read_is_left(name: str) -> None:
    assert environment.cleaned({name: "x", name.lower(): "x", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_no_variable_is_set() -> None:
    assert [name for name in FIELDS if name in os.environ or name.lower() in os.environ] == []


def test_a_run_with_everything_set_passes(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("TANDEM_PORT=51405\n")
    own = {**os.environ, **SET, "TANDEM_ENV_FILE": str(env_file)}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *SENSITIVE], cwd=ROOT, env=own, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout
    assert "2 passed" in run.stdout
