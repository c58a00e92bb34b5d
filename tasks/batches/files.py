"""The door for files: what an owner uploaded, and what their batches ended with.

A batch's files are written when somebody first asks for one of them, by the process that was asked, from the records of
the items. Written twice at once they are the same, and the second is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import IO

import structlog

from tasks import settings
from tasks.batches import door, output_lines, outputs
from tasks.batches.outputs import Output
from tasks.domain.errors import BatchNotFound, InvalidRequest
from tasks.domain.file import ID, File, FileMissing, Purpose, new_id
from tasks.files import disk
from tasks.files.store import Draft

log = structlog.get_logger()

#: What a batch's client calls the file that it is to be made of.
INPUT = "input_file_id"
#: Batches read at once in search of their files.
AT_ONCE = 100


def draft(owner: str) -> Draft:
    """Begin an upload. Raises Unavailable."""
    return disk.default().draft(owner, most_bytes=settings.get().batch_bytes)


def keep(upload: Draft, *, filename: str, purpose: Purpose, ttl_s: int | None) -> File:
    """Make an upload a file. Raises Unavailable."""
    longest = settings.get().file_ttl_s
    expires_at = datetime.now(UTC) + timedelta(seconds=min(ttl_s or longest, longest))
    return upload.keep(id=new_id(), filename=filename, purpose=purpose, expires_at=expires_at)


def find(file_id: str, owner: str, *, field: str = "file_id") -> File:
    """The file. Raises FileMissing, which names what the client calls the id, when this owner has none of that id, and
    Unavailable."""
    file = disk.default().find(file_id, owner)
    if file is None:
        output = _output(file_id, owner)
        file = _made(output) if output is not None else None
    if file is None:
        raise FileMissing(f"No such File object: {file_id[:100]}", field=field)
    return file


def _output(file_id: str, owner: str) -> Output | None:
    batch_id = outputs.batch_id_of(file_id)
    if batch_id is None:
        return None
    try:
        found = outputs.of(door.find(batch_id, owner)).values()
    except BatchNotFound:
        return None
    return next((one for one in found if one.id == file_id), None)


def _made(output: Output) -> File | None:
    """Write a batch's file, unless it was deleted or can be written no more."""
    owner, store = output.batch.owner, disk.default()
    if store.is_gone_for_good(output.id, owner) or not output.can_be_made:
        return None
    # No limit: what was accepted can be read.
    with store.draft(owner, most_bytes=2**62) as upload:
        for line in _lines(output):
            upload.write(line)
        file = upload.keep(
            id=output.id,
            filename=output.filename,
            purpose=Purpose.BATCH_OUTPUT,
            created_at=output.created_at,
            expires_at=output.expires_at,
        )
    if store.is_gone_for_good(output.id, owner):  # while it was written
        store.delete(output.id, owner)
        return None
    log.info("batch.file_written", batch_id=output.batch.id, which=output.which, size_bytes=file.size_bytes)
    return file


def _lines(output: Output) -> Iterator[bytes]:
    batch, failed = output.batch, output.which == "error"
    if failed:
        for item in door.invalid(batch.id):
            yield output_lines.of_invalid(batch.id, item)
    for custom_id, job in door.ended(batch.id, batch.owner, failed=failed):
        yield output_lines.of_job(custom_id, job)


def page(
    owner: str, *, purpose: Purpose | None, limit: int, after: str | None, newest_first: bool
) -> tuple[list[File], bool]:
    """An owner's files by age, from behind `after`; and whether there are more. One that is gone may be `after`, too:
    its id says when it was.

    Raises FileMissing for an `after` that never was an id, and Unavailable.
    """
    if after is not None and not ID.fullmatch(after):
        raise FileMissing(f"No such File object: {after}", field="after")
    if purpose is not Purpose.BATCH:
        _make_all(owner)
    found: list[File] = []
    ids = disk.default().ids(owner)
    for file_id in reversed(ids) if newest_first else ids:
        if after is not None and (file_id >= after if newest_first else file_id <= after):
            continue
        file = disk.default().find(file_id, owner)
        if file is not None and purpose in (None, file.purpose):
            found.append(file)
            if len(found) > limit:
                break
    return found[:limit], len(found) > limit


def _make_all(owner: str) -> None:
    after, more = None, True
    while more:
        batches, more = door.page(owner, status=None, limit=AT_ONCE, after=after, only_openai=True)
        after = batches[-1].id if batches else None
        for output in (one for batch in batches for one in outputs.of(batch).values()):
            if disk.default().find(output.id, owner) is None:
                _made(output)


def open_(file: File) -> IO[bytes]:
    """Its bytes. Raises FileMissing and Unavailable."""
    return disk.default().open(file)


def delete(file_id: str, owner: str) -> None:
    """Delete a file. Raises FileMissing when this owner has none of that id, and Unavailable."""
    output = None if disk.default().is_gone_for_good(file_id, owner) else _output(file_id, owner)
    if output is not None and output.can_be_made:
        disk.default().delete(file_id, owner, for_good=True)
    elif not disk.default().delete(file_id, owner):
        raise FileMissing(f"No such File object: {file_id[:100]}", field="file_id")


def input_of(file_id: str, owner: str) -> IO[bytes]:
    """The bytes of an upload that a batch is to be made of. Raises FileMissing, InvalidRequest and Unavailable."""
    file = find(file_id, owner, field=INPUT)
    if file.purpose is not Purpose.BATCH:
        raise InvalidRequest(
            f"the file's purpose is {file.purpose.value}: a batch is made of one for batch", field=INPUT
        )
    return open_(file)
