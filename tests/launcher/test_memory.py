"""Half of the memory is Valkey's: the machine's, or what control groups leave."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tasks.launcher.memory import available_bytes

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": f"{300 * MB}"}, 300 * MB),
        ("0::/a/b\n", {"a/b/memory.max": f"{200 * MB}", "a/memory.max": f"{300 * MB}"}, 200 * MB),
        ("0::/\n", {"memory.max": f"{100 * MB}"}, 100 * MB),
        ("5:cpu,memory:/c\n1:pids:/c\n", {"memory/c/memory.limit_in_bytes": f"{400 * MB}"}, 400 * MB),
        ("0::/\n", {"memory.max": "max"}, None),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("", {}, None),
    ],
)
def test_the_tightest_limit_counts(tmp_path: Path, own: str, limits: dict[str, str], expected: int | None) -> None:
    groups, mine = tmp_path / "cgroup", tmp_path / "own"
    mine.write_text(own)
    for name, text in limits.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")
    assert available_bytes(groups, mine) == (expected or psutil.virtual_memory().total)


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "none", tmp_path / "none") == psutil.virtual_memory().total
