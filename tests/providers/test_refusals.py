"""Error answers: hints, wording, and what must not be passed on."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from structlog.testing import capture_logs

from tasks.domain import provider_errors as errors
from tasks.providers.refusals import LOOKED_AT, MESSAGE_MAX, masked, message, refusal, retry_after_s
from tasks.providers.sandbox_client import SandboxClient
from tasks.providers.transport import Answer
from tests.providers.clients import chat
from tests.providers.wire import Line, Wire


def refused(status: int, body: object = None, **headers: str) -> errors.ProviderError:
    answer = Answer(status=status, headers=headers, body=json.dumps(body).encode())
    return refusal(answer, provider="nim", model="m")


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("1e9", 86_400.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_in_seconds(value: str, wait_s: float | None) -> None:
    assert retry_after_s({"Retry-After": value}) == wait_s


def test_retry_after_as_a_date() -> None:
    wait_s = retry_after_s({"Retry-After": formatdate(time.time() + 60, usegmt=True)})
    assert wait_s is not None
    assert 58 < wait_s <= 60
    assert retry_after_s({"Retry-After": formatdate(time.time() - 60, usegmt=True)}) == 0


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 1024 tokens. However, you requested 2000 tokens",
        "The decoder prompt (length 5000) is longer than the maximum model length of 1024.",
        "input length exceeds maximum context length",
        "The prompt is too long for the available context",
        "context_length_exceeded",
        "Prompt length (9000) exceeds maximum input length (8192)",
        "default_max_tokens (-5): prompt length plus max_num_tokens exceeds the context window",
    ],
)
def test_a_prompt_that_does_not_fit_is_recognised(said: str) -> None:
    assert type(refused(400, {"error": {"message": said}})) is errors.ContextTooLong


def test_another_bad_parameter_is_not_taken_for_a_long_prompt() -> None:
    said = "temperature must be non-negative; got -1.0 (context: sampling parameters)"
    assert type(refused(400, {"error": {"message": said}})) is errors.BadRequest


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "why"}},
        {"error": "why"},
        {"message": "why"},
        {"detail": "why"},
        {"detail": [{"loc": ["body"], "msg": "why", "input": "the prompt"}]},
        {"status": 400, "title": "why"},
        {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"why"}}'}}},
        {"error": {"message": "Provider returned error", "metadata": {"raw": "why"}}},
    ],
)
def test_the_reason_is_found_in_every_shape(body: object) -> None:
    assert message(json.dumps(body).encode()) == "why"


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff\xfe", b"[" * 100_000, b"null", b"3"])
def test_a_body_that_is_no_error_object_says_nothing(body: bytes) -> None:
    assert message(body) == ""


@pytest.mark.parametrize(
    "secret",
    [
        "nvapi-Ab_cd-1234",
        "sk-or-v1-0123456789abcdef",
        "sk-proj-abcdef",
        "org-1a2b3c4d",
        "user_2aBcDeFgHiJkLmNo",
        "7c1e9bd2-0a57-4f7f-9d1c-3a2b1c0d9e8f",
        "Kx7aB2mQ9tLw4ZpR8vYc3NdE6sHf1GjU5iOk0TbVqXyP",
    ],
)
def test_keys_and_account_ids_are_blanked(secret: str) -> None:
    assert secret not in masked(f"Not allowed for {secret}, sorry")
    assert masked(f"Not allowed for {secret}, sorry").endswith(", sorry")


def test_whatever_is_called_an_account_is_blanked() -> None:
    assert masked("Not found for account 'acme'") == "Not found for account ***"


def test_ordinary_words_stay() -> None:
    said = "user-provided max_tokens=5000 is too large for gpt-oss-120b, see risk-adjusted task-list"
    assert masked(said) == said


def test_a_long_reason_is_cut() -> None:
    assert len(masked("word " * 1000)) == MESSAGE_MAX


def test_half_of_a_secret_is_not_told_where_a_reason_is_cut() -> None:
    secret = "nvapi-" + "x" * 40
    for before in range(LOOKED_AT - 60, LOOKED_AT + 1):
        hidden = f"{'user_1234567 ' * 70}{'y ' * before}"[:before]
        assert "nvapi" not in masked(f"{hidden} {secret}")


def test_a_reason_of_one_long_word_is_told() -> None:
    assert masked("長" * 5000).startswith("長" * 100)


def test_a_retired_model_tells_since_when() -> None:
    error = refused(410, {"detail": "Model has reached its end of life on 2025-11-30T00:00:00Z for account 'x'"})
    assert error.message == "nim has retired model 'm' on 2025-11-30"


@pytest.mark.parametrize("status", [204, 301, 307])
def test_a_success_or_redirect_that_is_no_answer_is_invalid(status: int) -> None:
    assert type(refused(status)) is errors.InvalidResponse


@pytest.mark.parametrize("status", [405, 409, 413, 415])
def test_other_client_errors_are_bad_requests(status: int) -> None:
    assert type(refused(status)) is errors.BadRequest


def test_a_403_of_the_moderation_speaks_of_the_request_and_any_other_of_the_key() -> None:
    flagged = {"error": {"code": 403, "message": "no", "metadata": {"reasons": ["x"], "flagged_input": "the prompt"}}}
    error = refused(403, flagged)
    assert type(error) is errors.BadRequest
    assert "the prompt" not in error.message
    others: list[object] = [{"error": {"code": 403, "message": "no", "metadata": None}}, {"error": "no"}, None, []]
    for other in others:
        assert type(refused(403, other)) is errors.AccessDenied


ACCOUNT = [
    (401, {"detail": "Authentication failed"}, True),
    (402, {"detail": "Cloud credits expired"}, True),
    (
        402,
        {"error": {"message": "This request requires more credits, or fewer max_tokens. You can only afford 9"}},
        False,
    ),
    (403, {"status": 403, "title": "Forbidden", "detail": "Authorization failed"}, True),
    (403, None, True),
    (403, {"error": {"message": "Access to model acme/writer is denied"}}, False),
    (404, {"detail": "Function 'x': Not found for account 'y'"}, False),
    (410, {"detail": "end of life"}, False),
]


@pytest.mark.parametrize(("status", "body", "of_key"), ACCOUNT)
def test_which_refusals_concern_the_key_and_not_what_was_asked(status: int, body: object, of_key: bool) -> None:
    answer = Answer(status=status, headers={}, body=json.dumps(body).encode())
    error = refusal(answer, provider="nim", model="m", has_key=True)
    assert isinstance(error, errors.PermanentError)
    assert error.of_key == of_key
    keyless = refusal(answer, provider="vllm", model="m")
    assert isinstance(keyless, errors.PermanentError)
    assert not keyless.of_key, "no key was shown"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"error": {"message": "hello there is not for you", "code": "invalid_api_key"}}, "invalid_api_key"),
        ({"error": {"message": "hello there", "code": None, "type": "insufficient_quota"}}, "insufficient_quota"),
        ({"error": {"message": "hello there", "code": 401}}, "401"),
        ({"error": {"message": "no", "code": "hello there"}}, ""),
        ({"error": {"message": "no", "code": "org-1a2b3c4d"}}, ""),
        ({"detail": "hello there"}, ""),
        ("hello there", ""),
        (["hello there"], ""),
    ],
)
def test_what_is_logged_of_a_refused_account_is_a_word_and_nothing_of_what_was_asked(
    wire: Wire, body: object, word: str
) -> None:
    said = json.dumps(body).encode()
    refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)

    def serve(line: Line) -> None:
        line.request()
        line.send(refused)

    wire.handler = serve
    with capture_logs() as logged, pytest.raises(errors.ProviderError):
        chat(SandboxClient(base_url=wire.url), "any")
    [event] = [one for one in logged if one["event"] == "provider.refused"]
    assert (event["status"], event["code"]) == (401, word)
    assert "hello" not in str(logged)
    assert "org-" not in str(logged)
