"""The lines of the processes' logs that an operator wants to see at once: errors, restarts, the engine's state."""

from __future__ import annotations

import re
from pathlib import Path

#: Of our own logs, both formats; and of programs that write `ERROR`.
IMPORTANT = re.compile(r'\[(error|critical)\s*\]|"level": "(error|critical)"|engine\.state|\[ERROR\]|\bCRITICAL\b')
#: Of supervisord's own log: a process that ended by itself, and one that was killed because it would not.
RESTART = re.compile(r"(?:WARN|INFO) (exited: .*|gave up: .*|killing .*)")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: More than so many lines of one log at a time tell no more than "look into it".
LINES, WIDTH = 5, 240
MAX_READ_BYTES = 1_000_000


class Follower:
    """Reads what was added to one log since the last look."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._pattern = RESTART if name == "supervisord" else IMPORTANT
        self._at = path.stat().st_size if path.exists() else 0

    def look(self) -> list[str]:
        """The important lines that are new, each with the process' name."""
        found = [line for raw in self._added() if (line := self._important(raw))]
        told = [f"  {self._name:<8}| {line}" for line in found[:LINES]]
        if len(found) > LINES:
            told.append(f"  {self._name:<8}| … and {len(found) - LINES} more in {self._path}")
        return told

    def _added(self) -> list[str]:
        try:
            with self._path.open("rb") as log:
                size = log.seek(0, 2)
                # Rotated: a new file has begun.
                start = self._at if self._at <= size else 0
                log.seek(max(start, size - MAX_READ_BYTES))
                new = log.read()
        except OSError:
            return []
        whole = new.rfind(b"\n") + 1
        self._at = size - len(new) + whole
        return new[:whole].decode(errors="replace").splitlines()

    def _important(self, raw: str) -> str:
        line = COLOURS.sub("", raw)
        match = self._pattern.search(line)
        if match is None:
            return ""
        if self._pattern is RESTART:
            line = f"{match[1]}, starting it again" if match[1].startswith("exited") else match[1]
        return line[:WIDTH]


def last_line(path: Path) -> str:
    """The last line of a log that says anything."""
    try:
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return COLOURS.sub("", lines[-1])[:WIDTH] if lines else ""
