"""Fetching from a real server, well-behaved or not."""

from __future__ import annotations

import subprocess
import threading
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tasks.images.fetch import NOT_THERE, Fetcher, NotFetched
from tasks.images.location import parse
from tests.images.pictures import plain
from tests.images.servers import NameServer, Page, WebServer, page, raw, redirect, status

LOOPBACK = [ip_network("127.0.0.0/8")]
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n"


def fetcher(*servers: WebServer, names: NameServer | None = None, **more: Any) -> Fetcher:
    ports = [server.port for server in servers]
    nameserver = names.address if names else "127.0.0.1:9"
    usual: dict[str, Any] = {"most_bytes": 100_000, "networks": LOOPBACK, "ports": ports, "nameserver": nameserver}
    return Fetcher(**usual | more)


def fetch(web: WebServer, path: str = "/", within_s: float = 5, **more: Any) -> bytes:
    return fetcher(web, **more).fetch(f"http://127.0.0.1:{web.port}{path}", ends_at=time.monotonic() + within_s)


def test_an_image_is_fetched_by_name(web: WebServer, names: NameServer) -> None:
    web.pages["/a"] = page(plain())
    names.tell("pictures.test", ["127.0.0.1"])
    url = f"http://Pictures.TEST:{web.port}/a?b=%20c&d=\u00e9#part"
    assert fetcher(web, names=names).fetch(url, ends_at=time.monotonic() + 5) == plain()
    [(host, path, _)] = web.seen
    assert (host, path) == (f"pictures.test:{web.port}", "/a?b=%20c&d=%C3%A9")


def test_nothing_of_ours_is_sent_along(web: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    web.pages |= {"/": redirect("/b"), "/b": page(b"x", Set_Cookie="a=b")}
    assert fetch(web) == b"x"
    for _, _, headers in web.seen:
        assert set(headers) == {"Host", "Accept", "Accept-Encoding", "Connection", "User-Agent"}


def test_a_chunked_answer_is_put_together(web: WebServer) -> None:
    web.pages["/"] = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n")
    assert fetch(web) == b"hello there"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(web: WebServer, code: int) -> None:
    web.pages |= {"/": redirect("b/c", code), "/b/c": redirect(f"http://127.0.0.1:{web.port}/d", code)}
    web.pages["/d"] = page(b"there")
    assert fetch(web) == b"there"


def test_endless_redirects_end(web: WebServer) -> None:
    web.pages["/"] = redirect("/")
    with pytest.raises(NotFetched, match="more than 3 times"):
        fetch(web)
    assert len(web.seen) == 4


PAGES: dict[str, tuple[Page, str]] = {
    "404": (status(404), "HTTP 404"),
    "500": (status(500), "HTTP 500"),
    "204": (status(204), "HTTP 204"),
    "too long by its length": (page(b"x" * 100_001), "larger than 100000"),
    "too long by what comes": (raw(HEAD + b"\r\n", b"x" * 200_000), "larger than 100000"),
    "a length that lies": (raw(HEAD + b"Content-Length: 50\r\n\r\n", b"x" * 10), "all of it"),
    "compressed": (page(b"x", Content_Encoding="gzip"), "compressed"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.0\r\n"), NOT_THERE),
    "nothing": (raw(b""), NOT_THERE),
    "a header without end": (raw(b"HTTP/1.0 200 OK\r\nA: " + b"b" * 100_000), NOT_THERE),
    "a thousand headers": (raw(HEAD + b"A: b\r\n" * 1000 + b"\r\n"), NOT_THERE),
    "broken chunks": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"), NOT_THERE),
}


@pytest.mark.parametrize(("answer", "reason"), PAGES.values(), ids=PAGES)
def test_what_is_no_whole_answer_is_told(web: WebServer, answer: Page, reason: str) -> None:
    web.pages["/"] = answer
    with pytest.raises(NotFetched, match=reason.replace(":", ".")):
        fetch(web)


@pytest.mark.parametrize("drip", [b"HTTP/1.0 200 OK\r\n", HEAD + b"\r\n", HEAD + b"Content-Length: 500\r\n\r\n"])
def test_a_server_that_drips_is_left_in_time(web: WebServer, drip: bytes) -> None:
    """Each byte comes well within any read timeout; all of them together never."""
    over = threading.Event()
    web.pages["/"] = raw(drip, *[b"A"] * 1000, pause=lambda: over.wait(0.05))
    began = time.monotonic()
    with pytest.raises(NotFetched):
        fetch(web, within_s=0.6)
    took_s = time.monotonic() - began
    over.set()
    assert took_s < 2


def test_a_name_server_that_is_silent_is_left_in_time(web: WebServer) -> None:
    began = time.monotonic()
    with pytest.raises(NotFetched, match="not public or does not answer"):
        fetcher(web).fetch(f"http://pictures.test:{web.port}/", ends_at=time.monotonic() + 0.5)
    assert time.monotonic() - began < 2


def test_the_first_address_that_answers_is_taken(names: NameServer) -> None:
    with WebServer("127.0.0.3").running() as web:
        web.pages["/"] = page(b"here")
        names.tell("many.test", ["127.0.0.2", "127.0.0.3"])
        url = f"http://many.test:{web.port}/"
        assert fetcher(web, names=names).fetch(url, ends_at=time.monotonic() + 5) == b"here"


# ---- TLS -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for pictures.test and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subject = ["-subj", "/CN=pictures.test", "-addext", "subjectAltName=DNS:pictures.test"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", str(path), "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def test_tls_is_spoken_with_the_name_and_not_the_address(certificate: Path, names: NameServer) -> None:
    names.tell("pictures.test", ["127.0.0.1"])
    names.tell("other.test", ["127.0.0.1"])
    with WebServer(tls=certificate).running() as web:
        web.pages["/"] = page(b"secure")
        trusting = fetcher(web, names=names, ca_file=str(certificate))
        assert trusting.fetch(f"https://pictures.test:{web.port}/", ends_at=time.monotonic() + 5) == b"secure"
        for client, host in ((trusting, "other.test"), (fetcher(web, names=names), "pictures.test")):
            with pytest.raises(NotFetched) as refused:
                client.fetch(f"https://{host}:{web.port}/", ends_at=time.monotonic() + 5)
            assert str(refused.value) == NOT_THERE
        assert len(web.seen) == 1


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [("http://a.test", "a.test", 80, "/"), ("HTTPS://A.test:8443/b c".replace(" ", "%20"), "a.test", 8443, "/b%20c"),
     ("http://93.184.216.34#@127.0.0.1:22/", "93.184.216.34", 80, "/"),
     ("http://b\u00fccher.test/", "xn--bcher-kva.test", 80, "/"),
     ("http://[2606:4700::1111]:8080/x?y", "2606:4700::1111", 8080, "/x?y"), ("http://a.test./", "a.test", 80, "/")],
)  # fmt: skip
def test_a_url_is_taken_apart_once(url: str, host: str, port: int, target: str) -> None:
    found = parse(url)
    assert (found.host, found.port, found.target) == (host, port, target)
    assert parse(found.url) == found
