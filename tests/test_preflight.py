"""What keeps a web server or a worker that is started by hand from starting: one sentence, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tasks import preflight, settings
from tasks.domain.errors import Unavailable
from tasks.settings import BadSettings
from tasks.store import fleet
from tasks.store.fleet import Worker
from tests.support.installation import given, gpu_worker
from tests.support.polling import until
from tests.support.valkey import Valkey
from tests.test_settings import SECRET

ROOT = Path(__file__).parents[1]
#: As docs/operations.md has them.
WEB = ["gunicorn", "-c", "python:web.server", "web:create_app()"]
WORKER = ["celery", "-A", "tasks", "worker", "-P", "threads", "-c", "2", "--without-mingle", "--without-gossip"]
COMMANDS = {"web": WEB, "api": [*WORKER, "-Q", "api"], "gpu": [*WORKER, "-Q", "gpu"]}

#: More of them in tests/test_settings.py: here are those that would break Celery or gunicorn first, each elsewhere.
WRONG = [
    ("REDIS_URL", "unix://run/valkey.sock", "unix://[user:password@]/path"),
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
    # The tests' Valkey writes nothing to the disk, which each process warns of.
    (line,) = [said for said in (ended.stdout + ended.stderr).splitlines() if "redis.unfit" not in said]
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


def api_worker(name: str, queues: str, providers: str) -> Worker:
    return Worker(name=name, queues=queues, providers=providers, state="ready")


@contextmanager
def beating(worker: Worker) -> Iterator[None]:
    """A worker that says hello again and again, as live ones do."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.1):
            with suppress(Unavailable):
                fleet.default().hello(worker)

    fleet.default().hello(worker)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


OTHERS = [
    # who is there, what the new one has, what it is told
    (("api", "nim"), {"OPENROUTER_API_KEY": "sk-or-x"}, "the queue api is answered by nim"),
    (("api,api.openrouter", "nim,openrouter"), {"OPENROUTER_API_KEY": "sk-or-x"}, "the queue api is answered by nim"),
    (("api", "openrouter"), {"NVIDIA_API_KEY": "nvapi-x"}, "the queue api is answered by openrouter"),
    (("api", "nim"), {"TANDEM_SANDBOX_URL": "http://127.0.0.1:9/v1"}, "would only simulate"),
]


@pytest.mark.parametrize(("there", "here", "words"), OTHERS)
def test_a_queue_has_the_same_provider_at_all_workers(
    valkey: Valkey, there: tuple[str, str], here: dict[str, str], words: str
) -> None:
    with beating(api_worker("api@elsewhere#1", *there)):
        line = started(COMMANDS["api"], **here)
    assert words in line
    assert "api@elsewhere#1" in line
    assert not {"sk-or-x", "nvapi-x"} & set(line.split())


def test_a_worker_that_starts_while_redis_is_away_looks_who_is_there_when_it_is_back(
    valkey: Valkey, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with beating(api_worker("api@elsewhere#1", "api", "nim")), log.open("w") as out:
        valkey.signal(signal.SIGSTOP)
        try:
            environment = {**os.environ, "OPENROUTER_API_KEY": "sk-or-x"}
            process = subprocess.Popen(
                [sys.executable, "-m", *COMMANDS["api"]], cwd=ROOT, env=environment, stdout=out, stderr=out
            )
            until(lambda: "redis.awaited" in log.read_text(), within_s=60, what="a worker that waits")
        finally:
            valkey.signal(signal.SIGCONT)
        assert process.wait(60) == 1
    assert "the queue api is answered by nim" in log.read_text()


def given_up(monkeypatch: pytest.MonkeyPatch, **environment: str) -> bool:
    """Whether a worker of this environment is refused in this process."""
    given(monkeypatch, **environment)
    try:
        preflight.check_providers(settings.get())
    except BadSettings:
        return True
    return False


def test_a_worker_that_is_dead_keeps_nobody_from_starting(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.default().hello(api_worker("api@here#1", "api", "nim"))
    assert not given_up(monkeypatch, OPENROUTER_API_KEY="sk-or-x", TANDEM_LEASE_S="1")


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (("api", "nim"), {"NVIDIA_API_KEY": "nvapi-x"}),
        (("api", "nim"), {"NVIDIA_API_KEY": "nvapi-x", "OPENROUTER_API_KEY": "sk-or-x"}),
        (("api", "nim"), {}),
        (("api.sandbox", "sandbox"), {"NVIDIA_API_KEY": "nvapi-x"}),
        (("gpu", "vllm"), {"TANDEM_SANDBOX_URL": "http://127.0.0.1:9/v1"}),
        (("api", ""), {"NVIDIA_API_KEY": "nvapi-x"}),
    ],
    ids=["the same", "one more", "no provider at all", "a real one beside the sandbox", "an engine", "an older worker"],
)
def test_workers_that_do_not_stand_in_each_others_way_may_start(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, there: tuple[str, str], here: dict[str, str]
) -> None:
    given(monkeypatch)
    with beating(api_worker("w@elsewhere#1", *there)):
        assert not given_up(monkeypatch, TANDEM_LEASE_S="1", **here)
