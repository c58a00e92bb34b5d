"""What a store of files does. disk.py is one; one on object storage would be another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import IO, Protocol, Self

from tasks.domain.file import File, Purpose


class Draft(Protocol):
    """A file on its way in: `with store.draft(owner) as draft:`. What was not kept in the block leaves nothing."""

    def __enter__(self) -> Self:
        """Itself."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Forget what was not kept."""
        ...

    def write(self, data: bytes | bytearray) -> None:
        """Some more bytes. Raises FileTooLarge and Unavailable."""
        ...

    def keep(
        self, *, filename: str, purpose: Purpose, expires_at: datetime, id: str, created_at: datetime | None = None
    ) -> File:
        """Make it a file, all at once; one that is there under this id already stays as it is. Raises Unavailable."""
        ...


class FileStore(Protocol):
    """Files by owner and id. An expired one is not there. Every method raises Unavailable when the place is."""

    def draft(self, owner: str, *, most_bytes: int) -> Draft:
        """Begin a file of so many bytes at the most."""
        ...

    def find(self, file_id: str, owner: str) -> File | None:
        """The file; None when this owner has none of that id."""
        ...

    def ids(self, owner: str) -> list[str]:
        """Ids of an owner's files, the oldest first. One of them may have expired."""
        ...

    def open(self, file: File) -> IO[bytes]:
        """Its bytes. Raises FileMissing when it was deleted meanwhile."""
        ...

    def delete(self, file_id: str, owner: str, *, for_good: bool = False) -> bool:
        """Delete a file; whether it was there. `for_good`: remember it, so that nobody makes it anew."""
        ...

    def is_gone_for_good(self, file_id: str, owner: str) -> bool:
        """Whether it was deleted so."""
        ...


def pieces(held: IO[bytes], size: int = 256 * 1024) -> Iterator[bytes]:
    """The bytes of an open file, some at a time; it is closed behind them."""
    with held:
        while data := held.read(size):
            yield data
