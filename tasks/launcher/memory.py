"""How much memory this installation may use: the machine's, or what its control groups leave it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_bytes(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> int:
    """The least of the machine's memory and the limits of this process' control groups, of either version."""
    return min([psutil.virtual_memory().total, *_limits(cgroups, own)])


def _limits(cgroups: Path, own: Path) -> Iterator[int]:
    for folder, name in _groups(cgroups, own):
        # Each may be limited by those above it. "max" is no limit; in version 1 that is a very large number.
        for group in (folder, *folder.parents):
            if group.is_relative_to(cgroups):
                with suppress(OSError, ValueError):
                    yield int((group / name).read_text())


def _groups(cgroups: Path, own: Path) -> Iterator[tuple[Path, str]]:
    lines = own.read_text().splitlines() if own.exists() else []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield cgroups / path.lstrip("/"), "memory.max"
        elif "memory" in controllers.split(","):
            yield cgroups / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
