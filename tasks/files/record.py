"""What is written beside a file's bytes, and the disk's errors renamed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog

from tasks.domain.errors import Unavailable
from tasks.domain.file import File, Purpose

log = structlog.get_logger()

#: The names in a file's folder.
CONTENT, RECORD = "content", "record.json"
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


def written(file: File) -> dict[str, object]:
    """As JSON values."""
    return {
        "filename": file.filename,
        "purpose": file.purpose.value,
        "size_bytes": file.size_bytes,
        "created_at": file.created_at.timestamp(),
        "expires_at": file.expires_at.timestamp(),
    }


def read(said: dict[str, object], file_id: str, owner: str) -> File:
    """From them."""
    return File(
        id=file_id,
        owner=owner,
        filename=str(said["filename"]),
        purpose=Purpose(str(said["purpose"])),
        size_bytes=int(str(said["size_bytes"])),
        created_at=datetime.fromtimestamp(float(str(said["created_at"])), UTC),
        expires_at=datetime.fromtimestamp(float(str(said["expires_at"])), UTC),
    )
