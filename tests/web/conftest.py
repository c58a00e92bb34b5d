"""The application over the test Valkey: in this process, and as a real gunicorn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tasks.celery import app as celery
from tests.conftest import forget_caches
from tests.support.valkey import Valkey
from tests.web.gunicorn import Gunicorn
from web import create_app

#: Somebody must serve `api`, or nothing is accepted. Nobody ever calls it: no worker runs here.
SANDBOX = "http://127.0.0.1:9"

MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def make_client(valkey: Valkey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MakeClient:
    """A client of an application whose environment has the given variables too."""

    def make(**variables: str) -> FlaskClient:
        for name, value in ({"TANDEM_SANDBOX_URL": SANDBOX, "TANDEM_DATA": str(tmp_path / "data")} | variables).items():
            monkeypatch.setenv(name, value)
        forget_caches()
        celery.conf.update(broker_url=valkey.url, result_backend=valkey.url)
        return create_app().test_client()

    return make


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    """A client of an open application."""
    return make_client()


@pytest.fixture(scope="session")
def environment(valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a gunicorn of these tests finds in its environment."""
    own = {"REDIS_URL": valkey_server.url, "TANDEM_SANDBOX_URL": SANDBOX}
    own["TANDEM_DATA"] = str(tmp_path_factory.mktemp("data"))
    return own | {"TANDEM_MAX_BODY_BYTES": "100000", "LOG_FORMAT": "json"}


@pytest.fixture(scope="session")
def gunicorn_server(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    server = Gunicorn(environment, tmp_path_factory.mktemp("gunicorn") / "log").start()
    yield server
    server.stop()


@pytest.fixture
def gunicorn(gunicorn_server: Gunicorn, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Gunicorn:
    """A running web server over an empty Valkey, and this process' stores on the same."""
    monkeypatch.setenv("TANDEM_SANDBOX_URL", SANDBOX)
    forget_caches()
    return gunicorn_server


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log"
