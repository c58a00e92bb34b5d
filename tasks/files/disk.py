"""Files on this machine's disk: a folder each, with the bytes and a record of them, that appears and goes at once.

{data}/files/{owner, hashed}/file-…/content  record.json
{data}/files/{owner, hashed}/.gone-file-…    deleted for good: not to be made anew
{data}/files/.drafts/…                       on their way in, or out
{data}/files/.swept                          touched whenever somebody looked for what has expired
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import structlog

from tasks import settings
from tasks.domain.errors import Unavailable
from tasks.domain.file import ID, File, FileMissing, FileTooLarge, Purpose

log = structlog.get_logger()

CONTENT, RECORD, GONE = "content", "record.json", ".gone-"
#: A draft that nobody has written to for so long belongs to a process that died.
DRAFT_KEPT_S = 3600.0
#: How often somebody looks for what has expired.
SWEEP_EVERY_S = 600.0
RETRY_AFTER_S = 30.0


@contextmanager
def renamed() -> Iterator[None]:
    """A disk that is full, or gone, is a service that cannot take it now."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        log.warning("files.disk", error=errno.errorcode.get(error.errno or 0, "?"))
        raise Unavailable("files cannot be kept or read at the moment", retry_after_s=RETRY_AFTER_S) from error


class DiskDraft:
    """A folder of its own among the drafts."""

    def __init__(self, store: DiskFiles, owner: str, *, most_bytes: int) -> None:
        self._store, self._owner, self._most = store, owner, most_bytes
        self._at = store.drafts / secrets.token_hex(16)
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
            if shutil.disk_usage(self._at).free < self._store.leave_bytes + len(data):
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
            with (self._at / RECORD).open("w") as record:
                json.dump(_written(file), record)
                record.flush()
                os.fsync(record.fileno())
            return file if self._store.move_in(self._at, file) else self._store.find(id, self._owner) or file


class DiskFiles:
    """Files under one folder. Any number of processes may use it at once."""

    def __init__(self, root: Path, *, leave_bytes: int, deleted_kept_s: float) -> None:
        self._root = root
        self.drafts = root / ".drafts"
        self.leave_bytes = leave_bytes
        self._deleted_kept_s = deleted_kept_s

    def draft(self, owner: str, *, most_bytes: int) -> DiskDraft:
        """Begin a file."""
        self._sweep_now_and_then()
        return DiskDraft(self, owner, most_bytes=most_bytes)

    def move_in(self, draft: Path, file: File) -> bool:
        """Put a finished draft into its place. False when a file of that id is there."""
        target = self._folder(file.owner) / file.id
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            draft.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        _sync(target.parent)
        return True

    def find(self, file_id: str, owner: str) -> File | None:
        """The file, if it is there and has not expired."""
        if not ID.fullmatch(file_id):
            return None
        try:
            with renamed():
                said = json.loads((self._folder(owner) / file_id / RECORD).read_text())
        except FileNotFoundError:
            return None
        file = _read(said, file_id, owner)
        if not file.is_expired:
            return file
        self.delete(file_id, owner)
        return None

    def ids(self, owner: str) -> list[str]:
        """Ids of an owner's files, the oldest first."""
        self._sweep_now_and_then()
        try:
            with renamed():
                return sorted(entry.name for entry in self._folder(owner).iterdir() if ID.fullmatch(entry.name))
        except FileNotFoundError:
            return []

    def open(self, file: File) -> IO[bytes]:
        """Its bytes. One that is deleted while it is read is read to its end."""
        try:
            with renamed():
                return (self._folder(file.owner) / file.id / CONTENT).open("rb")
        except FileNotFoundError as error:
            raise FileMissing(f"no file {file.id}") from error

    def delete(self, file_id: str, owner: str, *, for_good: bool = False) -> bool:
        """Delete a file: out of sight at once, then from the disk."""
        if not ID.fullmatch(file_id):
            return False
        with renamed():
            if for_good:
                self._folder(owner).mkdir(parents=True, exist_ok=True, mode=0o700)
                (self._folder(owner) / f"{GONE}{file_id}").touch(mode=0o600)
            return self._remove(self._folder(owner) / file_id)

    def is_gone_for_good(self, file_id: str, owner: str) -> bool:
        """Whether it was deleted so."""
        with renamed():
            return bool(ID.fullmatch(file_id)) and (self._folder(owner) / f"{GONE}{file_id}").exists()

    def _remove(self, folder: Path) -> bool:
        away = self.drafts / f"out-{secrets.token_hex(16)}"
        self.drafts.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            folder.rename(away)
        except FileNotFoundError:
            return False
        shutil.rmtree(away, ignore_errors=True)
        return True

    def _folder(self, owner: str) -> Path:
        return self._root / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def _sweep_now_and_then(self) -> None:
        stamp = self._root / ".swept"
        with renamed():
            if stamp.exists() and time.time() - stamp.stat().st_mtime < SWEEP_EVERY_S:
                return
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            stamp.touch()
            self.sweep()

    def sweep(self) -> None:
        """Remove what has expired, and what processes that died left behind. May run several times at once."""
        now = time.time()
        for left in self.drafts.glob("*"):
            if now - _touched(left) > DRAFT_KEPT_S:
                shutil.rmtree(left, ignore_errors=True)
        for folder in self._root.glob("[!.]*/"):
            for entry in folder.iterdir():
                if entry.name.startswith(GONE):
                    if now - _touched(entry) > self._deleted_kept_s:
                        entry.unlink(missing_ok=True)
                elif ID.fullmatch(entry.name) and self._has_expired(entry):
                    self._remove(entry)

    @staticmethod
    def _has_expired(folder: Path) -> bool:
        try:
            return bool(json.loads((folder / RECORD).read_text())["expires_at"] <= time.time())
        except FileNotFoundError:
            return False  # somebody else was faster


def _touched(path: Path) -> float:
    """When something there was last written; now, when it is gone."""
    content = path / CONTENT
    try:
        return (content if content.exists() else path).stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _sync(folder: Path) -> None:
    """A name is on the disk only once its folder is."""
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def _written(file: File) -> dict[str, object]:
    return {
        "filename": file.filename,
        "purpose": file.purpose.value,
        "size_bytes": file.size_bytes,
        "created_at": file.created_at.timestamp(),
        "expires_at": file.expires_at.timestamp(),
    }


def _read(said: dict[str, object], file_id: str, owner: str) -> File:
    return File(
        id=file_id,
        owner=owner,
        filename=str(said["filename"]),
        purpose=Purpose(str(said["purpose"])),
        size_bytes=int(str(said["size_bytes"])),
        created_at=datetime.fromtimestamp(float(str(said["created_at"])), UTC),
        expires_at=datetime.fromtimestamp(float(str(said["expires_at"])), UTC),
    )


@cache
def default() -> DiskFiles:
    """The files under TANDEM_DATA."""
    here = settings.get()
    return DiskFiles(here.data / "files", leave_bytes=here.file_leave_bytes, deleted_kept_s=here.job_ttl_s)
