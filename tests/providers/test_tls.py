"""Cutting works through TLS as well, where the socket is wrapped."""

from __future__ import annotations

import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from tasks.domain.errors import CallCut
from tasks.domain.provider_errors import ConnectionLost
from tasks.providers.sandbox_client import SandboxClient
from tests.providers.clients import a_call, chat, cut_when
from tests.providers.wire import GOOD, Line, Wire

SUBJECT = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *SUBJECT]
    subprocess.run([*made, "-keyout", str(path), "-out", str(path) + ".crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def secure(wire: Wire, certificate: Path) -> Wire:
    """Answers the first request of a connection, and leaves the second one waiting."""
    wire.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wire.tls.load_cert_chain(certificate)
    wire.url = f"https://localhost:{wire.port}/v1"
    return wire


def test_a_call_is_cut_through_tls(secure: Wire, certificate: Path) -> None:
    waiting = threading.Event()

    def serve(line: Line) -> None:
        line.request()
        line.send(GOOD)
        line.request()
        waiting.set()
        line.request()

    secure.handler = serve
    client = SandboxClient(base_url=secure.url, ca_file=str(certificate))
    assert chat(client, "any").result.content == "fine"
    call = a_call()
    cut_when(waiting.wait, call)
    with pytest.raises(CallCut):
        chat(client, "any", call)
    assert secure.accepted == 1
    assert chat(client, "any").result.content == "fine"
    assert secure.accepted == 2


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: Wire) -> None:
    with pytest.raises(ConnectionLost):
        chat(SandboxClient(base_url=secure.url), "any")
