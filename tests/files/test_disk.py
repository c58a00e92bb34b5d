"""Files on the disk: there at once or not at all, for their owner, until they are deleted or expire."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.domain.errors import Unavailable
from tasks.domain.file import File, FileMissing, FileTooLarge, Purpose, new_id
from tasks.files.disk import DRAFT_KEPT_S, DiskFiles


@pytest.fixture
def files(tmp_path: Path) -> DiskFiles:
    return DiskFiles(tmp_path / "files", leave_bytes=0, deleted_kept_s=60)


def kept(files: DiskFiles, body: bytes = b"abc", *, id: str | None = None, lives_s: float = 60) -> File:
    with files.draft("ann", most_bytes=1000) as draft:
        draft.write(body)
        expires_at = datetime.now(UTC) + timedelta(seconds=lives_s)
        return draft.keep(id=id or new_id(), filename="größe.jsonl", purpose=Purpose.BATCH, expires_at=expires_at)


def left(tmp_path: Path) -> list[str]:
    return sorted(one.name for one in (tmp_path / "files").rglob("*") if one.is_file() and one.name != ".swept")


def test_what_is_kept_is_found_by_another_process(files: DiskFiles, tmp_path: Path) -> None:
    made = kept(files)
    other = DiskFiles(tmp_path / "files", leave_bytes=0, deleted_kept_s=60)
    assert other.find(made.id, "ann") == made
    assert other.ids("ann") == [made.id]
    with other.open(made) as held:
        assert held.read() == b"abc"
    assert (other.find(made.id, "bob"), other.ids("bob"), other.delete(made.id, "bob")) == (None, [], False)


def test_what_is_not_kept_leaves_nothing(files: DiskFiles, tmp_path: Path) -> None:
    with pytest.raises(FileTooLarge), files.draft("ann", most_bytes=5) as draft:
        draft.write(b"abc")
        draft.write(b"abc")
    with files.draft("ann", most_bytes=5) as draft:
        draft.write(b"abc")
    assert left(tmp_path) == []
    assert files.ids("ann") == []


def test_of_two_with_one_id_the_first_stays(files: DiskFiles, tmp_path: Path) -> None:
    file_id = new_id()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: kept(files, b"%d" % n * 100, id=file_id), range(8)))
    assert files.ids("ann") == [file_id]
    with files.open(made[0]) as held:
        assert len(set(held.read())) == 1
    assert left(tmp_path) == ["content", "record.json"]


def test_a_file_is_read_to_its_end_while_it_is_deleted(files: DiskFiles) -> None:
    made = kept(files)
    with files.open(made) as held:
        assert files.delete(made.id, "ann")
        assert held.read() == b"abc"
    assert not files.delete(made.id, "ann")
    with pytest.raises(FileMissing):
        files.open(made)


def test_what_is_gone_for_good_is_remembered_for_a_while(files: DiskFiles, tmp_path: Path) -> None:
    made = kept(files)
    assert not files.is_gone_for_good(made.id, "ann")
    files.delete(made.id, "ann", for_good=True)
    assert (files.is_gone_for_good(made.id, "ann"), files.is_gone_for_good(made.id, "bob")) == (True, False)
    files.sweep()
    assert files.is_gone_for_good(made.id, "ann"), "somebody who is still writing it would make it anew"
    [mark] = (tmp_path / "files").rglob(".gone-*")
    os.utime(mark, (time.time() - 61,) * 2)
    files.sweep()
    assert not files.is_gone_for_good(made.id, "ann")


def test_the_sweep_removes_what_expired_and_what_the_dead_left(files: DiskFiles, tmp_path: Path) -> None:
    stays = kept(files)
    kept(files, lives_s=-1)
    with files.draft("ann", most_bytes=1000) as open_draft:
        dead = tmp_path / "files" / ".drafts" / "dead"
        dead.mkdir()
        (dead / "content").write_bytes(b"abc")
        os.utime(dead / "content", (time.time() - DRAFT_KEPT_S - 1,) * 2)
        (tmp_path / "files" / "stray").write_text("somebody's")
        files.sweep()
        assert not dead.exists()
        open_draft.write(b"still here")
        expires_at = datetime.now(UTC) + timedelta(seconds=60)
        other = open_draft.keep(id=new_id(), filename="b", purpose=Purpose.BATCH, expires_at=expires_at)
    assert files.ids("ann") == sorted([stays.id, other.id])


def test_a_disk_without_room_is_unavailable_and_not_filled(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path / "files", leave_bytes=2**60, deleted_kept_s=60)
    with pytest.raises(Unavailable), files.draft("ann", most_bytes=1000) as draft:
        draft.write(b"abc")
    assert left(tmp_path) == []


def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("not a folder")
    with (
        pytest.raises(Unavailable),
        DiskFiles(tmp_path / "files", leave_bytes=0, deleted_kept_s=60).draft("ann", most_bytes=1),
    ):
        pass


def test_ids_sort_by_age() -> None:
    made = []
    for _ in range(5):
        made.append(new_id())
        time.sleep(0.000_01)
    assert made == sorted(made)
