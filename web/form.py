"""A form with one file in it, read as it comes: its bytes are handed on, its other fields are short texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from tasks.domain.errors import InvalidRequest
from web.source import Source, Whole

FILE = "file"
READ_BYTES = 256 * 1024
#: Of an option, and how many parts a form may have.
LONGEST_OPTION, MOST_PARTS = 1_000_000, 32
#: Of what stands before the first part, and of a part's headers, beside what is read at once.
LONGEST_HEAD = 64 * 1024


def read(req: Request, take: Callable[[bytes | bytearray], object]) -> tuple[dict[str, str], str]:
    """Hand the file's bytes to `take`; returns the form's other fields, and the file's name ("" when it has none).

    Raises BadRequest, RequestEntityTooLarge and InvalidRequest.
    """
    boundary = req.mimetype_params.get("boundary", "")
    if not boundary:
        raise BadRequest("the form names no boundary")
    said, name, filename = dict[str, bytes](), "", None
    # What the decoder holds is what it cannot hand out yet: of a file never more than the beginning of a boundary.
    most = {"max_form_memory_size": READ_BYTES + LONGEST_HEAD, "max_parts": MOST_PARTS}
    for event in _events(Whole(req), MultipartDecoder(boundary.encode("latin-1", "replace"), **most)):
        if isinstance(event, Field | File):
            name = _named(event, said, has_file=filename is not None)
            if name == FILE:
                filename = event.filename if isinstance(event, File) else ""
        elif isinstance(event, Data) and name == FILE:
            take(event.data)
        elif isinstance(event, Data):
            said[name] += event.data
            if len(said[name]) > LONGEST_OPTION:
                raise RequestEntityTooLarge(f"the field {name!r} is too long")
    if filename is None:
        raise InvalidRequest("the form has no file", field=FILE)
    try:
        return {name: text.decode() for name, text in said.items()}, filename
    except UnicodeDecodeError as error:
        raise BadRequest("a field of the form is not UTF-8") from error


def _named(event: Field | File, said: dict[str, bytes], *, has_file: bool) -> str:
    name = event.name or ""
    if name in said or (name == FILE and has_file):
        raise InvalidRequest(f"the field {name[:100]!r} is given twice", field=name[:100])
    if name != FILE:
        said[name] = b""
    return name


def _events(stream: Source, decoder: MultipartDecoder) -> Iterator[object]:
    try:
        while True:
            event = decoder.next_event()
            while not isinstance(event, NeedData):
                yield event
                if isinstance(event, Epilogue):
                    return
                event = decoder.next_event()
            data = stream.read(READ_BYTES)
            decoder.receive_data(data or None)
    except ValueError as error:
        raise BadRequest("the form is malformed, or ends too soon") from error
