"""What only NVIDIA does: queued calls, and results that lie elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tasks import catalog
from tasks.domain.network import Network
from tasks.domain.provider_errors import (
    AuthenticationFailed,
    BadRequest,
    InvalidResponse,
    ModelRetired,
    ProviderError,
    ProviderOverloaded,
    ProviderTimeout,
    RateLimited,
)
from tasks.domain.request import ChatRequest, Image, Message
from tasks.providers.nim import NIM, POLL_PAUSE_S
from tasks.providers.sandbox.thread import SandboxThread
from tests.providers.clients import HELLO, LOOPBACK, a_call, chat, nim
from tests.providers.wire import GOOD, Line, Wire


def test_a_queued_call_is_polled_for(sandbox: SandboxThread) -> None:
    done = chat(nim(sandbox.url), "nvcf-202+slow-300ms")
    assert done.result.content is not None
    assert sandbox.state.counts()["polls"] == 1


def test_polling_goes_on_while_the_host_says_202(sandbox: SandboxThread) -> None:
    """With little time left the polls are held for one second only."""
    assert chat(nim(sandbox.url), "nvcf-202+slow-1200ms", a_call(timeout_s=1.9)).result.content
    assert sandbox.state.counts()["polls"] == 2


def test_a_large_result_is_fetched_without_the_key(sandbox: SandboxThread) -> None:
    """The sandbox refuses whoever shows a key at the place where results lie."""
    assert chat(nim(sandbox.url), "nvcf-302").result.content


VISION = "meta/llama-3.2-11b-vision-instruct"


def test_prompts_for_a_nim_of_ones_own_stay_there(sandbox: SandboxThread) -> None:
    """NVIDIA has a URL of its own for this model."""
    nim(sandbox.url).complete(VISION, HELLO, a_call())
    assert sandbox.state.calls.entries[-1].path == "/nim/v1/chat/completions"


def test_a_models_own_url_is_taken(sandbox: SandboxThread) -> None:
    hosted = NIM(api_key="nvapi-test", base_url="https://integrate.api.nvidia.com/v1", nvcf_url=sandbox.url)
    theirs = catalog.read(catalog.OURS)[VISION]
    assert hosted.endpoint(theirs) == theirs.endpoints["nim"]
    own = catalog.Model(id="own", abilities=frozenset({"chat"}), ids={}, endpoints={"nim": f"{sandbox.url}/elsewhere"})
    for client in (hosted, NIM(api_key="nvapi-test", base_url=sandbox.url, nvcf_url=sandbox.url)):
        assert client.endpoint(own) == f"{sandbox.url}/elsewhere"


def client_of(wire: Wire, networks: Sequence[Network] = ()) -> NIM:
    nvcf_url = wire.url.removesuffix("/v1")
    return NIM(api_key="nvapi-test", base_url=wire.url, nvcf_url=nvcf_url, networks=networks)


def answering(wire: Wire, first: bytes, seen: list[bytes], then: bytes = GOOD) -> None:
    def serve(line: Line) -> None:
        while request := line.request():
            seen.append(request)
            line.send(first if len(seen) == 1 else then)

    wire.handler = serve


@pytest.mark.parametrize("ident", ["", "NVCF-REQID: ../../v1/secrets\r\n", "NVCF-REQID: a b\r\n"])
def test_an_id_that_is_none_is_not_asked_for(wire: Wire, ident: str) -> None:
    seen: list[bytes] = []
    answering(wire, f"HTTP/1.1 202 Accepted\r\n{ident}Content-Length: 0\r\n\r\n".encode(), seen)
    with pytest.raises(InvalidResponse):
        chat(client_of(wire), "any")
    assert len(seen) == 1


@pytest.mark.parametrize(
    "location",
    [
        "",
        "Location: file:///etc/passwd\r\n",
        "Location: ftp://127.0.0.1/\r\n",
        "Location: http://[1/\r\n",
        "Location: http://127.0.0.1:99999/\r\n",
        "Location: http://user:word@127.0.0.1/\r\n",
        "Location: http://a\\b/\r\n",
    ],
)
def test_a_redirect_to_nowhere_safe_is_not_followed(wire: Wire, location: str) -> None:
    seen: list[bytes] = []
    answering(wire, f"HTTP/1.1 302 Found\r\n{location}Content-Length: 0\r\n\r\n".encode(), seen)
    with pytest.raises(InvalidResponse):
        chat(client_of(wire), "any")
    assert len(seen) == 1


INSIDE = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "127.1"]


@pytest.mark.parametrize("host", INSIDE)
def test_a_redirect_into_the_house_is_not_followed(wire: Wire, host: str) -> None:
    """Whoever answers in the provider's place could have anything there asked for, and read it as an answer."""
    with Wire() as inside:
        inside.handler = lambda line: line.send(GOOD)
        place = f"http://{host}:{inside.port}/x"
        answering(wire, f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode(), [])
        with pytest.raises(InvalidResponse):
            chat(client_of(wire), "any")
        assert inside.accepted == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_image_is_not_put_into_the_house(wire: Wire, host: str) -> None:
    """The asset that was made for it is deleted again."""
    seen: list[bytes] = []
    with Wire() as inside:
        place = f"http://{host}:{inside.port}/put"
        made = json.dumps({"assetId": "00000000-0000-0000-0000-000000000000", "uploadUrl": place}).encode()
        answering(wire, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(made) + made, seen)
        client = NIM(api_key="nvapi-test", base_url=wire.url, nvcf_url=wire.url.removesuffix("/v1"), inline_below=1)
        shown = Image(url="data:image/png;base64,AAAA")
        with pytest.raises(InvalidResponse):
            client.complete("m", ChatRequest(messages=(Message(role="user", content=(shown,)),)), a_call())
        assert inside.accepted == 0
    assert [request.split(b" ")[0] for request in seen] == [b"POST", b"DELETE"]


def test_a_redirect_on_the_same_host_keeps_the_key(wire: Wire) -> None:
    seen: list[bytes] = []
    answering(wire, b"HTTP/1.1 302 Found\r\nLocation: /results/1\r\nContent-Length: 0\r\n\r\n", seen)
    assert chat(client_of(wire), "any").result.content == "fine"
    assert seen[1].startswith(b"GET /results/1 ")
    assert b"Authorization: Bearer nvapi-test" in seen[1]


def test_a_redirect_to_another_port_of_the_same_host_does_not_get_the_key(wire: Wire) -> None:
    """A port is part of an origin: whoever listens beside the provider is somebody else."""
    asked: list[bytes] = []
    fetched: list[bytes] = []
    with Wire() as other:
        answering(other, GOOD, fetched)
        place = f"http://127.0.0.1:{other.port}/results/1"
        answering(wire, f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode(), asked)
        assert chat(client_of(wire, LOOPBACK), "any").result.content == "fine"
    assert b"Authorization: Bearer nvapi-test" in asked[0]
    assert fetched[0].startswith(b"GET /results/1 ")
    assert b"authorization" not in fetched[0].lower()


@pytest.mark.parametrize("status", [403, 404, 410, 500])
def test_a_result_that_is_gone_from_its_place_is_tried_again(wire: Wire, status: int) -> None:
    """A storage's 410 retires no model, its 403 is not about our key."""
    gone = f"HTTP/1.1 {status} Gone\r\nContent-Length: 0\r\n\r\n".encode()
    answering(wire, b"HTTP/1.1 302 Found\r\nLocation: /results/1\r\nContent-Length: 0\r\n\r\n", [], then=gone)
    with pytest.raises(ProviderOverloaded):
        chat(client_of(wire), "any")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationFailed),
        (410, ModelRetired),
        (422, BadRequest),
        (429, RateLimited),
        (500, ProviderOverloaded),
    ],
)
def test_a_queued_call_may_fail_in_the_end(wire: Wire, status: int, kind: type[ProviderError]) -> None:
    refused = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    answering(wire, b"HTTP/1.1 202 Accepted\r\nNVCF-REQID: 1-2\r\nContent-Length: 0\r\n\r\n", [], then=refused)
    with pytest.raises(kind):
        chat(client_of(wire), "any")


def test_a_queued_call_that_got_lost_is_tried_again(wire: Wire) -> None:
    seen: list[bytes] = []
    gone = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    answering(wire, b"HTTP/1.1 202 Accepted\r\nNVCF-REQID: 1-2\r\nContent-Length: 0\r\n\r\n", seen, then=gone)
    with pytest.raises(ProviderOverloaded):
        chat(client_of(wire), "any")
    assert seen[1].startswith(b"GET /v2/nvcf/pexec/status/1-2 ")
    assert b"NVCF-POLL-SECONDS: " in seen[1]


def test_a_host_that_holds_no_poll_is_asked_a_few_times_a_second(wire: Wire) -> None:
    queued = b"HTTP/1.1 202 Accepted\r\nNVCF-REQID: 1-2\r\nContent-Length: 0\r\n\r\n"
    seen: list[bytes] = []
    answering(wire, queued, seen, then=queued)
    with pytest.raises(ProviderTimeout):
        chat(client_of(wire), "any", a_call(timeout_s=2 * POLL_PAUSE_S))
    assert 2 <= len(seen) <= 4


def test_nvidia_is_asked_for_our_own_assets_since_its_models_are_shown_to_anybody(wire: Wire) -> None:
    seen: list[bytes] = []
    refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    answering(wire, refused, seen)
    here = wire.url.removesuffix("/v1")
    client = NIM(api_key="nvapi-test", base_url="https://integrate.api.nvidia.com/v1", nvcf_url=here)
    with pytest.raises(AuthenticationFailed) as caught:
        client.check_key(a_call())
    assert caught.value.of_key
    client.check_key(a_call())
    assert [request.split(b" HTTP")[0] for request in seen] == [b"GET /v2/nvcf/assets"] * 2
    assert all(b"Bearer nvapi-test" in request for request in seen)


def test_a_nim_of_ones_own_is_asked_for_its_models(wire: Wire) -> None:
    seen: list[bytes] = []
    answering(wire, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", seen)
    with pytest.raises(AuthenticationFailed):
        client_of(wire).check_key(a_call())
    assert seen[0].startswith(b"GET /v1/models")
