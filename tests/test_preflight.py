"""What keeps a web server or a worker that is started by hand from starting: one sentence, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.installation import gpu_worker
from tests.support.valkey import Valkey
from tests.test_settings import SECRET

ROOT = Path(__file__).parents[1]
#: As docs/operations.md has them.
WEB = ["gunicorn", "-c", "python:web.server", "web:create_app()"]
WORKER = ["celery", "-A", "tasks", "worker", "-P", "threads", "-c", "2", "--without-mingle", "--without-gossip"]
COMMANDS = {"web": WEB, "api": [*WORKER, "-Q", "api"], "gpu": [*WORKER, "-Q", "gpu"]}

#: More of them in tests/test_settings.py: here are those that would break Celery or gunicorn first, each elsewhere.
WRONG = [
    ("REDIS_URL", "unix:///run/valkey.sock", "unix:// is not supported"),
    ("REDIS_URL", f"redis://127.0.0.1:{SECRET}", "redis://"),
    ("LOG_LEVEL", "loud", "'WARNING'"),
    ("TANDEM_API_KEYS", SECRET, "entry 1 is not owner:key"),
    ("TANDEM_CATALOG", "/nonexistent.toml", "cannot be read"),
]


def started(command: list[str], **changes: str) -> str:
    """What a process that must not come up says."""
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **changes}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1
    (line,) = (ended.stdout + ended.stderr).splitlines()
    return line


@pytest.mark.parametrize("command", ["web", "api"])
@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_bad_setting_is_one_sentence(command: str, name: str, value: str, words: str) -> None:
    line = started(COMMANDS[command], **{name: value})
    assert line.startswith(f"{name} is not valid: ")
    assert words in line
    assert SECRET not in line


def test_a_gpu_worker_needs_its_engine(tmp_path: Path) -> None:
    assert "is no program" in started(COMMANDS["gpu"], TANDEM_VLLM="/nonexistent")
    (tmp_path / "data").touch()
    assert "is no program" in started(COMMANDS["gpu"], TANDEM_VLLM=str(tmp_path / "data"))


def test_a_queue_has_one_model(valkey: Valkey) -> None:
    gpu_worker(model="tiny-chat", name="gpu0@elsewhere#1")
    engine = {"TANDEM_VLLM": sys.executable, "TANDEM_MODEL": "acme/Writer-7B"}
    line = started(COMMANDS["gpu"], **engine)
    assert "the workers of the queue gpu serve tiny-chat" in line
    assert "gpu.acme/Writer-7B (-Q)" in line


@pytest.mark.parametrize("queues", ["gpu.tiny-chat", "gpu,gpu.acme/Writer-7B"])
def test_a_further_queue_has_its_models_name(valkey: Valkey, queues: str) -> None:
    line = started([*WORKER, "-Q", queues], TANDEM_VLLM=sys.executable, TANDEM_MODEL="acme/Writer-7B")
    assert f"serves one queue, gpu or gpu.acme/Writer-7B, and not {queues}" in line
