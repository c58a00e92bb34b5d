"""What is said of a request that cannot be read: problem+json, written without an application to do it."""

from __future__ import annotations

import json
import socket

from gunicorn.http import errors  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException, RequestTimeout
from werkzeug.http import HTTP_STATUS_CODES

from web.request_id import HEADER

#: The status of each kind that is no plain 400.
STATUSES: dict[type[Exception], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.UnsupportedTransferCoding: 501,
    errors.ExpectationFailed: 417,
    errors.ForbiddenProxyRequest: 403,
    errors.ConfigurationProblem: 500,
    errors.InvalidResponseHeader: 500,
    errors.InvalidResponseHeaderName: 500,
    RequestTimeout: 408,
}
#: In place of gunicorn's words, which repeat what was sent.
DETAILS = {
    400: "the request is not HTTP/1.1 as it should be",
    403: "no proxy speaks from this address",
    414: "the request line is too long: 4094 bytes are the most",
    417: "the only expectation that is met is 100-continue",
    431: "the headers are too long, or too many",
    501: "the only transfer coding that is read is chunked",
}
FAILED = "the server failed to answer"


def status_of(error: BaseException) -> int:
    """The status for what was raised where no application could answer it."""
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return status
    return 400 if isinstance(error, errors.ParseException) else 500


def answer(status: int, detail: str | None, request_id: str) -> bytes:
    """A whole response, after which the connection is closed. Without `detail` it says what there is to say."""
    said = detail or DETAILS.get(status, FAILED)
    title = HTTP_STATUS_CODES[status]
    problem = {"type": "about:blank", "title": title, "status": status, "detail": said, "request_id": request_id}
    body = json.dumps(problem)
    first = f"HTTP/1.1 {status} {title}\r\nConnection: close\r\n{HEADER}: {request_id}"
    head = f"{first}\r\nContent-Type: application/problem+json\r\n"
    return f"{head}Cache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def detail_of(error: BaseException) -> str | None:
    """What an error of ours says; gunicorn's own words may repeat what was sent."""
    return error.description if isinstance(error, HTTPException) else None


def send(sock: socket.socket, response: bytes) -> None:
    """Send it, if the client is still there. Never raises."""
    try:
        sock.sendall(response)
    except OSError:
        return
