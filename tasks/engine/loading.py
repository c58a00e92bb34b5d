"""How long an engine took to load when it last did: so long the fleet is told to wait for it."""

from __future__ import annotations

from pathlib import Path

#: What a first load is taken to need, until one has been seen.
FIRST_LOAD_S = 60.0


def run_dir(data: Path, device: str) -> Path:
    """The folder of the engine of one device."""
    return (data / "engines" / device.replace("/", "_")).absolute()


def last_s(engine: Path) -> float:
    """Seconds of the last load of the engine of this folder."""
    try:
        return float(_note(engine).read_text())
    except (OSError, ValueError):
        return FIRST_LOAD_S


def remember(engine: Path, seconds: float) -> None:
    """Note how long it took."""
    engine.mkdir(parents=True, exist_ok=True)
    _note(engine).write_text(f"{seconds:.1f}")


def _note(engine: Path) -> Path:
    return engine / "load_s"
