"""Takes a batch in: keeps its lines while they come, and accepts it at the last one."""

from __future__ import annotations

import hashlib
import json
import secrets
from types import TracebackType
from typing import Self

from tasks import publish, routing, settings
from tasks.batches import reading
from tasks.domain.batch import BatchOptions
from tasks.domain.errors import BatchTooLarge, InvalidRequest, NoRoom
from tasks.domain.job import Priority
from tasks.domain.request import fingerprint
from tasks.store import batches, capacity, durability, fitness, fleet, steps
from tasks.store.batches import NewBatch
from tasks.store.earlier import Earlier
from tasks.store.message import Message

#: Lines of one chunk, and bytes after which it is full with fewer: what one script writes when they are read.
CHUNK_LINES, CHUNK_BYTES = 100, 1_000_000


class Upload:
    """A batch on its way in. `with Upload(owner) as upload:`; what was not accepted in the block leaves nothing behind.

    `field` is what the client calls the items. `key`: its idempotency key; None where there is none, or where it is not
    known before the last line (`key_may_follow`). What was accepted before is not kept again, and found whether or not
    there is room now. `add` and `accept` raise BatchTooLarge, InvalidRequest, IdempotencyMismatch and Unavailable.
    """

    def __init__(
        self, owner: str, *, field: str = "items", key: str | None = None, key_may_follow: bool = False
    ) -> None:
        self.batch_id = f"batch_{secrets.token_hex(16)}"
        self._owner = owner
        self._field = field
        self._hash = hashlib.sha256()
        self._lines = 0
        self._bytes = 0
        self._chunks = 0
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._is_kept = False
        self._earlier = batches.default().accepted_before(owner, key) if key else None
        self._key_may_follow = key_may_follow
        self._refused: NoRoom | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._is_kept:
            self._drop()

    def _drop(self) -> None:
        if self._chunks:
            batches.default().drop_lines(self.batch_id, self._chunks)
            self._chunks = 0

    @property
    def lines(self) -> int:
        """How many items were taken."""
        return self._lines

    def add(self, line: int, text: bytes) -> None:
        """Take one item, of line `line`."""
        self._lines += 1
        self._bytes += len(text)
        here = settings.get()
        if self._lines > here.batch_items:
            raise BatchTooLarge(f"line {line}: a batch has {here.batch_items} items at the most", field=self._field)
        if self._bytes > here.batch_bytes:
            raise BatchTooLarge(f"line {line}: a batch has {here.batch_bytes} bytes at the most", field=self._field)
        self._hash.update(b"%d " % line + text + b"\n")
        self._open.append(reading.entry(line, text, longest=here.max_body_bytes))
        self._open_bytes += len(text)
        if len(self._open) >= CHUNK_LINES or self._open_bytes >= CHUNK_BYTES:
            self._flush()

    def accept(self, options: BatchOptions, *, last_line: int) -> tuple[str, bool]:
        """Accept the batch: its id, and whether it answers an earlier request with the same key."""
        if not self._lines:
            raise InvalidRequest("a batch needs at least one item", field="items")
        if self._open:
            self._flush()
        print_of_all = fingerprint({"options": options.to_json(), "lines": self._hash.hexdigest()})
        if (before := self._accepted_before(options)) is not None:
            return before.id_for(print_of_all), True
        if self._refused is not None:
            raise self._refused
        here = settings.get()
        fitness.default().ensure()
        if here.durable_accept:
            durability.default().ensure()
        first = Message(
            job_id=steps.step_id(self.batch_id, "expand"), epoch=0, queue=steps.QUEUE, priority=Priority.INTERACTIVE
        )
        fields = {
            "owner": self._owner,
            "total": str(self._lines),
            "lines": str(last_line),
            "chunks": str(self._chunks),
            "options": json.dumps(options.to_json(), ensure_ascii=False),
            "metadata": json.dumps(dict(options.metadata), ensure_ascii=False),
            # Lines find their places later, perhaps after a restart without a key: who may answer them is settled now.
            "may_simulate": str(int(routing.simulates(fleet.default()))),
        }
        new = NewBatch(
            id=self.batch_id,
            owner=self._owner,
            idempotency_key=options.idempotency_key,
            fingerprint=print_of_all,
            expires_in_s=options.expires_in_s or here.expires_in_s,
            message=publish.encode(first),
            fields=fields,
        )
        batch_id, replayed = batches.default().accept(new)
        self._is_kept = not replayed
        return batch_id, replayed

    def _accepted_before(self, options: BatchOptions) -> Earlier | None:
        if self._earlier is None and self._key_may_follow and options.idempotency_key:
            return batches.default().accepted_before(self._owner, options.idempotency_key)
        return self._earlier

    def _flush(self) -> None:
        try:
            if self._earlier is None and self._refused is None:
                self._keep()
        except NoRoom as error:
            self._drop()
            if not self._key_may_follow:
                raise
            self._refused = error
        self._open, self._open_bytes = [], 0

    def _keep(self) -> None:
        items_bytes = len(self._open) * capacity.ITEM_BYTES
        # Those of this upload's other lines count for all once it is accepted.
        capacity.default().reserve(self._open_bytes + items_bytes, later_bytes=self._lines * capacity.ITEM_BYTES)
        batches.default().keep_lines(self.batch_id, self._chunks, self._open)
        self._chunks += 1
