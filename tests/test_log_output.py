"""A log that cannot be written fails nothing, holds up nobody, and says afterwards what is missing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

import pytest

from tasks.log_output import LogOutput


class Pipe(NamedTuple):
    reader: BinaryIO
    output: LogOutput


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as reader, os.fdopen(write, "wb", buffering=0):
        yield Pipe(cast(BinaryIO, reader), LogOutput(write, lambda lines: f"lost {lines}\n"))


def written(reader: BinaryIO) -> str:
    os.set_blocking(reader.fileno(), False)
    return (reader.read() or b"").decode()


def test_lines_go_out_whole_and_at_once(pipe: Pipe) -> None:
    pipe.output.write("one\n")
    pipe.output.write("ü \ud800\n")
    assert written(pipe.reader) == "one\nü \\ud800\n"


def test_a_pipe_that_nobody_reads_any_more_is_no_fault(pipe: Pipe) -> None:
    pipe.reader.close()
    assert [pipe.output.write("line\n") for _ in range(3)] == [5, 5, 5]


def test_a_full_disk_is_no_fault() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        assert LogOutput(full, str).write("line\n") == 5
    finally:
        os.close(full)


def test_a_reader_that_stands_still_holds_nobody_up(pipe: Pipe) -> None:
    """Without patience for each line: a thousand waits would be minutes."""

    def fill() -> None:
        for _ in range(3000):
            pipe.output.write("x" * 99 + "\n")

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    filling.join(60)
    assert not filling.is_alive()


def test_what_was_lost_is_told_once_lines_are_taken_again(pipe: Pipe) -> None:
    for number in range(1000):
        pipe.output.write(f"{number:099}\n")
    before = written(pipe.reader).splitlines()
    pipe.output.write("afterwards\n")
    assert [int(line) for line in before] == list(range(len(before)))
    assert written(pipe.reader) == f"lost {1000 - len(before)}\nafterwards\n"


def test_half_a_line_is_not_taken_for_the_beginning_of_the_next(pipe: Pipe) -> None:
    pipe.output.write("a" * 1_000_000 + "\n")
    assert set(written(pipe.reader)) == {"a"}
    pipe.output.write("next\n")
    assert written(pipe.reader) == "\nlost 1\nnext\n"
