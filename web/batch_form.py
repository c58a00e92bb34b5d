"""A batch as a form: a field for each option, and a file with a line for each item."""

from __future__ import annotations

from flask import Request

from web import form
from web.lines import Lines, Taker


def read(req: Request, take: Taker, *, longest: int) -> tuple[dict[str, str], int]:
    """Hand every line of the file to `take`; returns the form's other fields, and the number of the last line.

    Raises BadRequest, RequestEntityTooLarge and InvalidRequest.
    """
    lines = Lines(take, longest=longest)
    said, _ = form.read(req, lines.feed)
    return said, lines.close()
