"""What a submission with an image takes of the web server's memory, as its process has it: a real gunicorn."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings

from tests.images.heavy import HEAVY, MOST_BYTES
from tests.images.mangled import mangled
from tests.images.pictures import asking, data_url, plain
from tests.support.valkey import Valkey
from tests.web.conftest import SANDBOX
from tests.web.gunicorn import Gunicorn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")

STATUS = {"read": 202, "refused": 422}


class Server:
    """A gunicorn of one process, and that process' memory."""

    def __init__(self, gunicorn: Gunicorn) -> None:
        self._url = gunicorn.url
        self.post(plain())  # what is loaded with the first image is no image's memory
        self._process = Path(f"/proc/{gunicorn.workers()[0]}")
        self._before = self._peak()

    def post(self, data: bytes) -> int:
        """Submit an image; the status of the answer."""
        body = {"model": "nvidia/nemotron-nano-12b-v2-vl", "messages": asking(data_url(data))}
        return requests.post(f"{self._url}/jobs", json=body, timeout=60).status_code

    def took(self) -> int:
        """The most memory that was ever in use beyond what a small image takes (bytes)."""
        return self._peak() - self._before

    def _peak(self) -> int:
        found = re.search(r"VmHWM:\s+(\d+)", (self._process / "status").read_text())
        assert found is not None
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def server(valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = {"REDIS_URL": valkey_server.url, "TANDEM_SANDBOX_URL": SANDBOX}
    room = {"TANDEM_MAX_BODY_BYTES": str(16 << 20), "TANDEM_IMAGE_MAX_BYTES": str(9 << 20)}
    gunicorn = Gunicorn(own | room, tmp_path_factory.mktemp("gunicorn") / "log", "--workers", "1").start()
    yield Server(gunicorn)
    gunicorn.stop()


@pytest.mark.parametrize(("make", "expected"), HEAVY.values(), ids=HEAVY)
def test_no_submission_takes_more_memory_than_promised(
    server: Server, make: Callable[[], bytes], expected: str
) -> None:
    assert server.post(make()) == STATUS[expected]
    print(f"{server.took() / 2**20:.0f} MiB at the peak")
    assert server.took() < MOST_BYTES


def test_several_at_once_do_not_add_up(server: Server) -> None:
    """One is decoded at a time, and no thread keeps for itself what that took."""
    picture = HEAVY["a WEBP"][0]()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(server.post, [picture] * 32)) == {202}
    assert server.took() < MOST_BYTES


def test_any_bytes_are_accepted_or_refused_within_it(server: Server) -> None:
    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mangled())
    def check(data: bytes) -> None:
        assert server.post(data) in STATUS.values()

    check()
    assert server.took() < MOST_BYTES
