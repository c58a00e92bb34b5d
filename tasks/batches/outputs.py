"""The files that a batch in OpenAI's form ends with: which there are, and what they are called.

They are written when somebody first asks for one: see files.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from tasks import settings
from tasks.domain.batch import Batch, BatchStatus
from tasks.domain.file import ID, stamped
from tasks.files import disk

Which = Literal["output", "error"]
KINDS: tuple[Which, ...] = ("output", "error")


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file that a batch has, or had until it expired."""

    id: str
    batch: Batch
    which: Which
    created_at: datetime
    expires_at: datetime

    @property
    def filename(self) -> str:
        """As OpenAI calls them."""
        return f"{self.batch.id}_{self.which}.jsonl"

    @property
    def can_be_made(self) -> bool:
        """Whether no item's record can have lapsed: they do with their batch's."""
        lapse = self.created_at + timedelta(seconds=settings.get().job_ttl_s)
        return datetime.now(UTC) < min(lapse, self.expires_at)


def of(batch: Batch) -> dict[Which, Output]:
    """The files of a batch: none while it is not over, or when it was not begun."""
    if batch.openai is None or batch.finished_at is None or batch.status is BatchStatus.FAILED:
        return {}
    completed = batch.counts["completed"]
    has = {"output": completed > 0, "error": batch.settled > completed}
    ttl_s = min(batch.openai.output_ttl_s or settings.get().file_ttl_s, settings.get().file_ttl_s)
    expires_at = batch.finished_at + timedelta(seconds=ttl_s)
    bits = batch.id.removeprefix("batch_")
    return {
        which: Output(
            # A further round ends in other files.
            id=f"{stamped(batch.finished_at.timestamp(), bits)}-{which}{batch.round}",
            batch=batch,
            which=which,
            created_at=batch.finished_at,
            expires_at=expires_at,
        )
        for which in KINDS
        if has[which]
    }


def batch_id_of(file_id: str) -> str | None:
    """The batch that a file of this id would be of; None when it is no batch's."""
    found = ID.fullmatch(file_id)
    return f"batch_{file_id[19:51]}" if found and found[1] else None


def erase(batch: Batch) -> None:
    """Delete the files of a batch that is erased: those of this round, which somebody may be about to write, and those
    that were written of earlier ones."""
    if batch.openai is None:
        return
    written = {file_id for file_id in disk.default().ids(batch.owner) if batch_id_of(file_id) == batch.id}
    for file_id in written | {output.id for output in of(batch).values()}:
        disk.default().delete(file_id, batch.owner, for_good=True)
