"""Inputs that grow, one row for each parser of what strangers send: honest ones, and those made to be slow.

A row is (how to make an input of size n, what reads it, the smallest n). Refusals of ours are answers like any other.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flask import Request
from marshmallow import ValidationError
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder

from tasks.batches import reading, template
from tasks.batches.template import TooLong
from tasks.domain.errors import TandemError
from tasks.domain.job import Kind
from tasks.images import data_url
from tasks.images import reading as images
from tasks.providers import answers, embeddings, lists, received, refusals
from tasks.providers.transport import Answer
from tasks.schemas import openai_bodies, strict_json, surrogates
from tasks.schemas.errors import by_field
from tasks.schemas.submission import SubmissionSchema
from tests.images import slow
from web import batch_body, form, prefer
from web.schemas.batch_options import BatchOptionsSchema
from web.schemas.chat import ChatSchema

REFUSALS = (TandemError, HTTPException, ValidationError, TooLong, ValueError)
LONGEST = 200_000_000
NO_COUNTS = {"total": 0, "completed": 0}
SUBMISSION, CHAT, OPTIONS = SubmissionSchema(), ChatSchema(), BatchOptionsSchema()

Row = tuple[Callable[[int], Any], Callable[[Any], object], int]


def read(run: Callable[[Any], object], given: Any) -> None:
    """Read it, whatever is said of it."""
    with suppress(*REFUSALS):
        run(given)


# ---- what reads ----


def body(data: bytes, kind: str = "application/json") -> None:
    batch_body.read(_request(data, kind), lambda *_: None, longest=LONGEST)


def lines(data: bytes) -> None:
    body(data, "application/x-ndjson")


def short_lines(data: bytes) -> None:
    batch_body.read(_request(data, "application/x-ndjson"), lambda *_: None, longest=1000)


def parts(data: bytes) -> None:
    form.read(_request(data, "multipart/form-data; boundary=x"), lambda _: None)


def _request(data: bytes, kind: str) -> Request:
    builder = EnvironBuilder(method="POST", input_stream=io.BytesIO(data), content_type=kind)
    return Request(builder.get_environ() | {"CONTENT_LENGTH": str(len(data))})


def submission(said: Any) -> None:
    _judged(SUBMISSION, said)


def chat(said: Any) -> None:
    _judged(CHAT, said)


def options(said: Any) -> None:
    _judged(OPTIONS, said)


def _judged(schema: Any, said: Any) -> None:
    try:
        schema.load(said)
    except ValidationError as error:
        by_field({"": error.messages})
        raise


def filled(text: str) -> None:
    template.filled({"prompt": text}, [{"custom_id": "a", "content": "b", "error": ""}], NO_COUNTS, most=LONGEST)


def line(text: str) -> None:
    reading.read(f"1 {text}", {"defaults": {}})


def openai_line(text: str) -> None:
    reading.read(f"1 {text}", {"openai": {"endpoint": openai_bodies.CHAT}})


def halves(text: str) -> None:
    surrogates.refuse(json.loads(text), text)


def openai(said: Any) -> None:
    openai_bodies.fields(Kind.CHAT, said)


def picture_url(url: str) -> None:
    data_url.decoded(url, most_bytes=LONGEST)


def refused(data: bytes) -> None:
    refusals.masked(refusals.message(data))
    raise refusals.refusal(Answer(status=400, headers={}, body=data), provider="p", model="m")


def answered(data: bytes) -> None:
    answers.completion(answers.parsed(data), model="m")


def embedded(data: bytes) -> None:
    said = answers.parsed(data)
    embeddings.joined([embeddings.vectors(said, count=len(said["data"]))], [said], model="m")


# ---- what is read ----


def said(content: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).encode()


def item(text: str) -> bytes:
    return b'{"items": [{"custom_id": "a", "prompt": "%s"}]}' % text.encode()


def turns(n: int, **turn: Any) -> dict[str, Any]:
    return {"messages": [turn] * n}


def twice(n: int) -> bytes:
    return b"{%s}" % b",".join(b'"k%d":0' % (k % (n - 1)) for k in range(n))


def unknown(n: int) -> dict[str, Any]:
    return {f"k{k}": 0 for k in range(n)}


def nested(n: int, depth: int = 50) -> str:
    return "[" + ",".join(["[" * depth + "]" * depth] * (n // depth)) + "]"


def headers(n: int) -> bytes:
    return b"--x\r\n" + b"a: b\r\n" * n


PART = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'

ROWS: dict[str, Row] = {
    "JSON: keys, the last of them twice": (twice, strict_json.loads, 10_000),
    "JSON: lists in lists": (lambda n: nested(n).encode(), strict_json.loads, 10_000),
    "JSON: numbers of many digits": (lambda n: b"[%s]" % b",".join([b"1" * 4000] * (n // 4000)), strict_json.loads,
                                     400_000),
    "JSON: one fraction": (lambda n: b"0." + b"1" * n, strict_json.loads, 100_000),
    "JSON: not closed": (lambda n: b'{"a": "' + b"\\n" * n, strict_json.loads, 100_000),
    "a batch's JSON: one text": (lambda n: item("x" * n), body, 500_000),
    "a batch's JSON: one text of escapes": (lambda n: item("\\n" * n), body, 500_000),
    "a batch's JSON: a text without an end": (lambda n: item("x" * n)[:-5], body, 500_000),
    "a batch's JSON: a number without an end": (lambda n: b'{"items": [' + b"1" * n, body, 500_000),
    "a batch's JSON: many items": (lambda n: b'{"items": [%s]}' % b",".join([b'{"a": 1}'] * n), body, 3_000),
    "a batch's JSON: lists in lists": (lambda n: b'{"items": %s}' % nested(n).encode(), body, 10_000),
    "a batch's JSON: brackets without an end": (lambda n: b'{"items": [' + b"[" * n, body, 10_000),
    "a batch's JSON: blanks": (lambda n: b" " * n + item("x"), body, 500_000),
    "a batch's JSON: unknown options": (lambda n: json.dumps(unknown(n)).encode(), body, 5_000),
    "a batch's JSON: an unknown option": (lambda n: b'{"x": %s, "items": []}' % nested(n).encode(), body, 10_000),
    "lines: many": (lambda n: b'{"a": 1}\n' * n, lines, 10_000),
    "lines: one": (lambda n: b"x" * n, lines, 1_000_000),
    "lines: one that is too long": (lambda n: b"x" * n, short_lines, 2_000_000),
    "a form: its preamble": (lambda n: b"x" * n + PART, parts, 250_000),
    "a form: dashes before it": (lambda n: b"--" * n + PART, parts, 250_000),
    "a form: headers without an end": (headers, parts, 100_000),
    "a form: one header": (lambda n: b"--x\r\na: " + b"b" * n, parts, 250_000),
    "a form: continued headers": (lambda n: b"--x\r\na: b" + b"\r\n  c" * n, parts, 100_000),
    "a form: a field": (lambda n: PART.replace(b"file", b"a") + b"x" * n, parts, 250_000),
    "a form: line breaks in its file": (lambda n: PART + b"\r\n" * n + b"\r\n--x--\r\n", parts, 250_000),
    "a form: carriage returns in its file": (lambda n: PART + b"\r" * n + b"\r\n--x--\r\n", parts, 250_000),
    "a form: half boundaries in its file": (lambda n: PART + b"\r\n--" * n + b"\r\n--x--\r\n", parts, 100_000),
    "a template: parts that are not closed": (lambda n: "{{#results}}" * n, filled, 4_000),
    "a template: parts": (lambda n: "{{#results}}{{custom_id}}{{/results}}" * n, filled, 1_000),
    "a template: parts unlike each other": (lambda n: "".join(f"{{{{#results}}}}{k}{{{{/results}}}}" for k in range(n)),
                                            filled, 1_000),
    "a template: words": (lambda n: "{{total}}{{custom_id}}" * n, filled, 2_000),
    "a template: braces": (lambda n: "{{" * n, filled, 100_000),
    "a template: a word that is not closed": (lambda n: "{{" + "a" * n, filled, 100_000),
    "a template: closed and not begun": (lambda n: "{{/results}}" * n, filled, 2_000),
    "a job: a long prompt": (lambda n: {"prompt": "é" * n}, submission, 500_000),
    "a job: unknown fields": (unknown, submission, 500),
    "a job: turns": (lambda n: turns(n, role="user", content="x"), submission, 500),
    "a job: turns that are wrong": (lambda n: turns(n, role="x"), submission, 500),
    "a job: a turn of unknown fields": (lambda n: {"messages": [unknown(n)]}, submission, 500),
    "a job: a part of unknown fields": (
        lambda n: turns(1, role="user", content=[{"type": "text", "text": "x", **unknown(n)}]), submission, 500),
    "a job: an address of an image": (
        lambda n: turns(1, role="user", content=[{"type": "image_url", "image_url": {"url": "data:" + "x" * n}}]),
        submission, 500_000),
    "a job: calls": (lambda n: turns(1, role="assistant", tool_calls=[{}] * n), submission, 500),
    "a job: tools": (lambda n: {"prompt": "x", "tools": [{}] * n}, submission, 500),
    "a job: a tool of unknown fields": (lambda n: {"prompt": "x", "tools": [unknown(n)]}, submission, 500),
    "a job: a schema": (
        lambda n: {"prompt": "x", "tools": [{"type": "function", "function": {"name": "f", "parameters": unknown(n)}}]},
        submission, 500),
    "a job: a choice": (lambda n: {"prompt": "x", "tool_choice": unknown(n)}, submission, 500),
    "a job: texts": (lambda n: {"model": "m", "input": ["x"] * n}, submission, 500),
    "a job: stops": (lambda n: {"prompt": "x", "stop": ["x"] * n}, submission, 50_000),
    "a job: metadata": (lambda n: {"prompt": "x", "metadata": unknown(n)}, submission, 50_000),
    "/chat: unknown fields": (unknown, chat, 2_000),
    "a batch: unknown options": (unknown, options, 2_000),
    "a batch: unknown defaults": (lambda n: {"defaults": unknown(n)}, options, 2_000),
    "a batch: an unknown job at its end": (lambda n: {"on_complete": unknown(n)}, options, 2_000),
    "a line: a long prompt": (lambda n: json.dumps({"custom_id": "a", "prompt": "x" * n}), line, 500_000),
    "a line: unknown fields": (lambda n: json.dumps({"custom_id": "a", **unknown(n)}), line, 2_000),
    "a line of OpenAI's: unknown fields": (lambda n: json.dumps(unknown(n)), openai_line, 1_000),
    "a line of OpenAI's: turns": (
        lambda n: json.dumps({"custom_id": "a", "method": "POST", "url": openai_bodies.CHAT,
                              "body": {"model": "m", **turns(n, role="user", content="x")}}), openai_line, 1_000),
    "a body of OpenAI's: unknown fields": (unknown, openai, 5_000),
    "half characters: none among many texts": (lambda n: json.dumps(["é"] * n), halves, 20_000),
    "half characters: one at the end": (lambda n: json.dumps(["a"] * n + ["\ud800"]), halves, 20_000),
    "half characters: in lists in lists": (
        lambda n: f'[{nested(n)}, "\\ud800"]', halves, 10_000),
    "a data: URL": (lambda n: "data:image/png;base64," + "QUJD" * n, picture_url, 250_000),
    "a data: URL of blanks": (lambda n: "data:image/png;base64," + "\r\n" * n, picture_url, 250_000),
    "a data: URL of no ASCII": (lambda n: "data:image/png;base64," + "é" * n, picture_url, 500_000),
    "a data: URL without a comma": (lambda n: "data:" + ";base64" * n, picture_url, 250_000),
    "an answer": (lambda n: said("x" * n), answered, 500_000),
    "an answer's thoughts": (lambda n: said("<think>" * n), answered, 100_000),
    "an answer's blanks": (lambda n: said(" " * n), answered, 500_000),
    "vectors": (lambda n: json.dumps({"data": [{"index": k, "embedding": [0.5]} for k in range(n)]}).encode(), embedded,
                3_000),
    "a vector": (lambda n: json.dumps({"data": [{"index": 0, "embedding": [0.5] * n}]}).encode(), embedded, 20_000),
    "a refusal: a long one": (lambda n: json.dumps({"error": "too long " * n}).encode(), refused, 5_000),
    "a refusal: ids without digits": (lambda n: json.dumps({"error": "user-" * n}).encode(), refused, 4_000),
    "a refusal: a long word": (lambda n: json.dumps({"error": "a-" * n}).encode(), refused, 4_000),
    "a refusal: exceeds": (lambda n: json.dumps({"error": "exceeds max" + "a" * n}).encode(), refused, 50_000),
    "a refusal: many exceed": (lambda n: json.dumps({"error": "exceed max" * n}).encode(), refused, 5_000),
    "a refusal: of FastAPI's": (lambda n: json.dumps({"detail": [{"msg": "x"}] * n}).encode(), refused, 5_000),
    "a provider's JSON: digits": (lambda n: b"1" * n, received.loads, 100_000),
    "a provider's JSON: escapes of halves": (lambda n: b'["%s"]' % (b"\\ud800" * n), received.loads, 20_000),
    "a list of models": (lambda n: {"data": [{"id": "a/" * 50}] * n}, lists.ids, 1_000),
    "Prefer": (lambda n: Headers({"Prefer": "wait=" + " " * n}), prefer.wait_s, 20_000),
    "Prefer: many": (lambda n: Headers({"Prefer": "wait," * n}), prefer.wait_s, 20_000),
    "a PNG of many chunks": (slow.png_of_chunks, images.read, 2_000),
    "a PNG of many empty IDATs": (slow.png_of_empty_data, images.read, 2_000),
    "a JPEG of many segments": (slow.jpeg_of_segments, images.read, 2_000),
    "a JPEG of many scans": (slow.jpeg_of_scans, images.read, 5),
}  # fmt: skip
