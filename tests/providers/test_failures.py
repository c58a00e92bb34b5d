"""Every failure that the sandbox knows, met by every client: its name, its words, its retry, and what is kept back."""

from __future__ import annotations

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from structlog.testing import capture_logs

from tasks.domain import provider_errors as errors
from tasks.domain.errors import CallCut
from tasks.domain.provider_errors import ProviderError, TransientError
from tasks.providers.base import Provider
from tasks.providers.openai_compatible import OpenAICompatible
from tasks.providers.refusals import ABOUT_ACCOUNT, TRANSIENT_4XX
from tasks.providers.sandbox import behaviour
from tasks.providers.sandbox.behaviour import Ending
from tasks.providers.sandbox.dialects import ACCOUNT, USER
from tasks.providers.sandbox.thread import SandboxThread
from tasks.providers.transport import Answer
from tests.providers.clients import MAKERS, a_call, chat, cut_when
from tests.providers.failures import ANSWERED, ENDLESS, FAILURES, MANNERS, MATRIX, QUEUED
from tests.support.polling import until

#: What the dialects put into their error bodies, and our own keys.
SECRETS = (ACCOUNT, USER, "nvapi-", "sk-or-", "7c1e9bd2-0a57")


def test_no_failure_of_the_sandbox_is_forgotten() -> None:
    rows = [line.split("|")[1] for line in str(behaviour.__doc__).splitlines() if line.startswith("| `")]
    documented = {word for row in rows for word in re.findall(r"`([^`]+)`", row)}
    assert {ending.value for ending in Ending} <= documented, "a word that the grammar's table does not have"
    assert documented <= {*FAILURES, *ANSWERED, *QUEUED, *ENDLESS, *MANNERS}, "a word that no test here asks for"


@pytest.mark.parametrize(("name", "words"), MATRIX)
def test_a_failure_is_called_by_its_name_and_keeps_secrets(
    name: str, words: str, sandbox: SandboxThread, caplog: pytest.LogCaptureFixture
) -> None:
    client, expected = MAKERS[name](sandbox.url), MATRIX[name, words]
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logged, pytest.raises(ProviderError) as raised:
        chat(client, words)
    error = raised.value
    assert (type(error), error.code) == (expected.kind, expected.code)
    assert error.message == expected.says.format(name=name, model=f"sandbox/{words}:free")
    assert isinstance(error, TransientError) == expected.tried_again
    if isinstance(error, TransientError):
        assert (error.charged, error.retry_after_s) == (expected.charged, expected.after_s)
    said = f"{error.message} {logged} {caplog.text}"
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.parametrize("words", ANSWERED)
def test_what_is_no_failure_is_answered(client: Provider, words: str) -> None:
    assert chat(client, words).result.finish_reason in ("stop", "tool_calls")


@pytest.mark.parametrize("words", ENDLESS)
def test_what_never_ends_is_cut_at_its_deadline(client: Provider, sandbox: SandboxThread, words: str) -> None:
    call, started = a_call(timeout_s=0.2), time.monotonic()
    cut_when(lambda: until(call.overdue, within_s=5), call)
    with pytest.raises(CallCut) as cut:
        chat(client, words, call)
    assert cut.value.why == "cancelled"
    assert time.monotonic() - started < 2
    until(lambda: sandbox.state.counts()["by_outcome"] == {"aborted": 1}, within_s=5)


def test_silence_is_a_timeout_without_a_watcher_too(sandbox: SandboxThread) -> None:
    """All four at once: the backstop is two seconds late on purpose."""

    def silence(name: str) -> type[BaseException]:
        with pytest.raises(ProviderError) as raised:
            chat(MAKERS[name](sandbox.url), "hang", a_call(timeout_s=0.1))
        return raised.type

    with ThreadPoolExecutor(len(MAKERS)) as pool:
        assert set(pool.map(silence, MAKERS)) == {errors.ProviderTimeout}


def test_every_status_is_decided(client: Provider) -> None:
    """429, 408, 425 and 5xx may work later, nothing else; whatever the body is."""
    assert isinstance(client, OpenAICompatible)
    for status, body in product(range(400, 600), (b"", b"<html>", b'{"error": {"message": "no"}}')):
        error = client.refusal(Answer(status=status, headers={}, body=body), "m")
        again = status == 429 or status in TRANSIENT_4XX or status >= 500
        assert isinstance(error, TransientError) == again
        assert again or status == 410 or type(error) is ABOUT_ACCOUNT.get(status, (errors.BadRequest, ""))[0]
