"""A file: what an owner uploaded to make a batch of, or what a batch made."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from tasks.domain.errors import RequestError

#: 14 hex digits of microseconds, so that ids sort by age, and 128 random bits. A batch's file says which one it is.
ID = re.compile(r"file-[0-9a-f]{46}(-(output|error)[0-9]{1,6})?")


class Purpose(StrEnum):
    """What a file is for, in OpenAI's words."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


class FileMissing(RequestError):
    """No such file for this owner, or it has expired."""

    code = "file_not_found"


class FileTooLarge(RequestError):
    """More bytes than one file may have."""

    code = "file_too_large"


@dataclass(frozen=True, kw_only=True)
class File:
    """A file as its owner sees it. Times are aware, UTC."""

    id: str
    owner: str
    filename: str
    purpose: Purpose
    size_bytes: int
    created_at: datetime
    expires_at: datetime

    @property
    def is_expired(self) -> bool:
        """Whether it is to be seen no more."""
        return self.expires_at <= datetime.now(UTC)


def new_id() -> str:
    """The id of a file that is made now."""
    return stamped(time.time(), secrets.token_hex(16))


def stamped(at_s: float, bits: str) -> str:
    """The id of a file of that moment; `bits` are 32 hex digits, and what tells it from others of the same."""
    return f"file-{int(at_s * 1_000_000):014x}{bits}"
