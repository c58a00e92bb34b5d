"""Images at the providers' border: what each takes inline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import vision
from tasks.domain.errors import CallCut
from tasks.domain.provider_errors import AuthenticationFailed, BadRequest, ProviderError
from tasks.domain.request import ChatRequest, Image, Message, Text
from tasks.images.data_url import encoded
from tasks.images.fitting import Frame, fit
from tasks.providers.base import Provider
from tasks.providers.nim import NIM
from tasks.providers.sandbox.thread import SandboxThread
from tests.conftest import forget_caches
from tests.images.pictures import noise, plain
from tests.providers.clients import a_call, chat, cut_when, nim
from tests.support.polling import until
from tests.support.valkey import Valkey


def looking_at(data: bytes, media_type: str = "image/png") -> ChatRequest:
    picture = Image(url=encoded(data, media_type))
    return ChatRequest(messages=(Message(role="user", content=(Text(text="what is it"), picture)),))


def test_every_provider_is_shown_an_image(client: Provider, sandbox: SandboxThread) -> None:
    done = chat(client, "echo", request=looking_at(plain()))
    assert done.usage is not None and done.usage.prompt_tokens > 80
    assert sandbox.state.calls.entries[-1].images == 1


def test_nim_takes_no_long_image_inline_until_it_is_fitted(sandbox: SandboxThread) -> None:
    given = noise((400, 400))
    whole = NIM(base_url=f"{sandbox.url}/nim/v1", api_key="nvapi-test", nvcf_url=f"{sandbox.url}/nim", inline_below=0)
    with pytest.raises(BadRequest):
        chat(whole, "echo", request=looking_at(given))
    fitted = fit(given, Frame(edge=1024, base64_below=180_000))
    assert chat(nim(sandbox.url), "echo", request=looking_at(fitted.data, fitted.media_type)).result.content


@pytest.mark.parametrize("url", ["data:image/png;base64,AAAA", "file:///etc/passwd", "media:abc"])
def test_what_is_no_image_is_refused(client: Provider, sandbox: SandboxThread, url: str) -> None:
    request = ChatRequest(messages=(Message(role="user", content=(Image(url=url),)),))
    with pytest.raises(BadRequest):
        client.complete("sandbox/echo:free", request, a_call())


# ---- NVIDIA's assets -------------------------------------------------------------------------


def test_an_image_too_long_to_be_inline_is_uploaded_for_the_call(sandbox: SandboxThread) -> None:
    given = noise((400, 400))
    done = nim(sandbox.url).complete("nvidia/any", looking_at(given), a_call())
    assert done.usage is not None and done.usage.prompt_tokens > 80
    entry = sandbox.state.calls.entries[-1]
    assert (entry.images, entry.image_base64) == (1, 0)
    assert sandbox.state.assets == {}, "it is deleted afterwards"


def test_a_short_image_stays_inline(sandbox: SandboxThread) -> None:
    nim(sandbox.url).complete("nvidia/any", looking_at(plain()), a_call())
    assert sandbox.state.calls.entries[-1].image_base64 > 0


@pytest.mark.parametrize("words", ["status-503", "drop", "broken-json"])
def test_an_asset_is_deleted_when_the_call_fails(sandbox: SandboxThread, words: str) -> None:
    with pytest.raises(ProviderError):
        nim(sandbox.url).complete(f"sandbox/{words}", looking_at(noise((400, 400))), a_call())
    assert sandbox.state.assets == {}


def test_an_asset_is_deleted_when_the_call_is_cut(sandbox: SandboxThread) -> None:
    call = a_call()
    cut_when(lambda: until(lambda: sandbox.state.calls.in_flight, within_s=5), call)
    with pytest.raises(CallCut):
        nim(sandbox.url).complete("sandbox/hang", looking_at(noise((400, 400))), call)
    assert sandbox.state.assets == {}


def test_who_may_not_upload_is_told_so(sandbox: SandboxThread) -> None:
    client = NIM(base_url=f"{sandbox.url}/nim/v1", api_key="wrong", nvcf_url=f"{sandbox.url}/nim")
    with pytest.raises(AuthenticationFailed) as caught:
        client.complete("nvidia/any", looking_at(noise((400, 400))), a_call())
    assert caught.value.of_key


def test_the_catalogue_says_which_models_take_assets(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[[model]]\nid = "a/b"\nabilities = ["chat", "vision"]\nnim = "a/b"\nimage_assets = 5_000_000\n')
    monkeypatch.setenv("TANDEM_CATALOG", str(own))
    forget_caches()
    large, usual = vision.frame_of("nim", "a/b"), vision.frame_of("nim", "nvidia/nemotron-nano-12b-v2-vl")
    assert (large.holds(4_999_000), large.holds(5_001_000)) == (True, False)
    assert (usual.holds(134_997), usual.holds(134_998)) == (True, False)
    assert vision.frame_of("vllm", "tiny-vl").holds(100_000_000)
