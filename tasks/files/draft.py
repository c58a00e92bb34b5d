"""A file on its way in: bytes in a folder that nobody sees yet."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tasks.domain.file import File, FileTooLarge, Purpose
from tasks.files import record
from tasks.files.record import CONTENT, RECORD, renamed


class DiskDraft:
    """A folder of its own among the drafts. `move_in` puts it into its place, and tells which file is there then."""

    def __init__(
        self, drafts: Path, owner: str, *, most_bytes: int, leave_bytes: int, move_in: Callable[[Path, File], File]
    ) -> None:
        self._owner, self._most, self._leave, self._move_in = owner, most_bytes, leave_bytes, move_in
        self._at = drafts / secrets.token_hex(16)
        self._size = 0

    def __enter__(self) -> Self:
        with renamed():
            self._at.mkdir(parents=True, mode=0o700)
            self._content = (self._at / CONTENT).open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._content.close()
        shutil.rmtree(self._at, ignore_errors=True)

    def write(self, data: bytes | bytearray) -> None:
        """Some more bytes."""
        self._size += len(data)
        if self._size > self._most:
            raise FileTooLarge(f"a file has {self._most} bytes at the most", field="file")
        with renamed():
            # Redis may keep its log on the same disk: a full one would stop everything.
            if shutil.disk_usage(self._at).free < self._leave + len(data):
                raise OSError(errno.ENOSPC, "as good as full")
            self._content.write(data)

    def keep(
        self, *, filename: str, purpose: Purpose, expires_at: datetime, id: str, created_at: datetime | None = None
    ) -> File:
        """Make it a file: written down, then moved to its place in one step."""
        file = File(
            id=id,
            owner=self._owner,
            filename=filename,
            purpose=purpose,
            size_bytes=self._size,
            created_at=created_at or datetime.now(UTC),
            expires_at=expires_at,
        )
        with renamed():
            self._content.flush()
            os.fsync(self._content.fileno())
            with (self._at / RECORD).open("w") as out:
                json.dump(record.written(file), out)
                out.flush()
                os.fsync(out.fileno())
            return self._move_in(self._at, file)
