"""Files on this machine's disk: a folder each, with the bytes and a record of them, that appears and goes at once.

{data}/files/{owner, hashed}/file-…/content  record.json
{data}/files/{owner, hashed}/.gone-file-…    deleted for good: not to be made anew
{data}/files/.drafts/…                       on their way in, or out
{data}/files/.swept                          touched whenever somebody looked for what has expired
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from functools import cache
from pathlib import Path
from typing import IO

from tasks import settings
from tasks.domain.file import ID, File, FileMissing
from tasks.files import record
from tasks.files.draft import DiskDraft
from tasks.files.record import CONTENT, RECORD, renamed
from tasks.files.store import FileStore

GONE = ".gone-"
#: A draft that nobody has written to for so long belongs to a process that died.
DRAFT_KEPT_S = 3600.0
#: How often somebody looks for what has expired.
SWEEP_EVERY_S = 600.0


class DiskFiles:
    """Files under one folder. Any number of processes may use it at once."""

    def __init__(self, root: Path, *, leave_bytes: int, deleted_kept_s: float) -> None:
        self._root = root
        self.drafts = root / ".drafts"
        self._leave_bytes = leave_bytes
        self._deleted_kept_s = deleted_kept_s

    def draft(self, owner: str, *, most_bytes: int) -> DiskDraft:
        """Begin a file."""
        self._sweep_now_and_then()
        return DiskDraft(
            self.drafts, owner, most_bytes=most_bytes, leave_bytes=self._leave_bytes, move_in=self._move_in
        )

    def _move_in(self, draft: Path, file: File) -> File:
        """Put a finished draft into its place. Returns the file that is there: another one may have been faster."""
        target = self._folder(file.owner) / file.id
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            draft.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return self.find(file.id, file.owner) or file
            raise
        _sync(target.parent)
        return file

    def find(self, file_id: str, owner: str) -> File | None:
        """The file, if it is there and has not expired."""
        if not ID.fullmatch(file_id):
            return None
        try:
            with renamed():
                said = json.loads((self._folder(owner) / file_id / RECORD).read_text())
        except FileNotFoundError:
            return None
        file = record.read(said, file_id, owner)
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


@cache
def default() -> FileStore:
    """The files under TANDEM_DATA."""
    here = settings.get()
    return DiskFiles(here.data / "files", leave_bytes=here.file_leave_bytes, deleted_kept_s=here.job_ttl_s)
