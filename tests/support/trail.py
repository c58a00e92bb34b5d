"""Every status ever written, from Valkey's append-only file: told by Redis itself, so nobody's word needs believing.

A record shows only what was written last, and a log what its writer thought; a second end shows here, whoever wrote it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from redis import Redis

from tests.support.polling import until

#: Without these a rewrite of the file would forget what was overwritten.
OPTIONS = ("--auto-aof-rewrite-percentage", "0")
JOB = b"tandem:job:"


def statuses(redis: Redis, data: Path) -> dict[str, list[str]]:
    """Job id → the statuses written to its record, oldest first. `data` is the server's folder."""
    until(lambda: redis.info("persistence")["aof_buffer_length"] == 0, within_s=5, what="the file being written")
    [file] = (data / "appendonlydir").glob("*.incr.aof")
    found: dict[str, list[str]] = defaultdict(list)
    with file.open("rb") as opened:
        for command in commands(opened):
            if command[0].upper() == b"HSET" and command[1].startswith(JOB):
                written = dict(zip(command[2::2], command[3::2], strict=True))
                if b"status" in written:
                    found[command[1].removeprefix(JOB).decode()].append(written[b"status"].decode())
    return found


def commands(file: BinaryIO) -> Iterator[list[bytes]]:
    """The commands of the file, but for one at its end that is still being written."""
    while (head := file.readline()).endswith(b"\n"):
        command = []
        for _ in range(int(head.removeprefix(b"*"))):
            size = file.readline()
            part = file.read(int(size[1:]) + 2) if size.endswith(b"\n") else b""
            if not part.endswith(b"\r\n"):
                return
            command.append(part[:-2])
        yield command
