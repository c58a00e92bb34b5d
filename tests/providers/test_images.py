"""Images at the providers' border: what each takes inline."""

from __future__ import annotations

import pytest

from tasks.domain.errors import BadRequest
from tasks.domain.request import ChatRequest, Image, Message, Text
from tasks.images.data_url import encoded
from tasks.images.fitting import Frame, fit
from tasks.providers.base import Provider
from tasks.providers.sandbox.thread import SandboxThread
from tests.images.pictures import noise, plain
from tests.providers.clients import a_call, chat, nim


def looking_at(data: bytes, media_type: str = "image/png") -> ChatRequest:
    picture = Image(url=encoded(data, media_type))
    return ChatRequest(messages=(Message(role="user", content=(Text(text="what is it"), picture)),))


def test_every_provider_is_shown_an_image(client: Provider, sandbox: SandboxThread) -> None:
    done = chat(client, "echo", request=looking_at(plain()))
    assert done.usage is not None and done.usage.prompt_tokens > 80
    assert sandbox.state.calls.entries[-1].images == 1


def test_nim_takes_no_long_image_inline_until_it_is_fitted(sandbox: SandboxThread) -> None:
    given = noise((400, 400))
    with pytest.raises(BadRequest):
        chat(nim(sandbox.url), "echo", request=looking_at(given))
    fitted = fit(given, Frame(edge=1024, base64_below=180_000))
    assert chat(nim(sandbox.url), "echo", request=looking_at(fitted.data, fitted.media_type)).result.content


@pytest.mark.parametrize("url", ["data:image/png;base64,AAAA", "file:///etc/passwd", "media:abc"])
def test_what_is_no_image_is_refused(client: Provider, sandbox: SandboxThread, url: str) -> None:
    request = ChatRequest(messages=(Message(role="user", content=(Image(url=url),)),))
    with pytest.raises(BadRequest):
        client.complete("sandbox/echo:free", request, a_call())
