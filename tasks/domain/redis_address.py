"""Where Redis is: one REDIS_URL, read once here, and spelled as each of its readers wants it.

Standard library only: celeryconfig.py reads it too. It may hold a password, so no word of it comes back in an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, unquote

FORM = (
    "it must look like redis://[user:password@]host[:port][/number], rediss:// the same with TLS, "
    "unix://[user:password@]/path[?db=number], or redis+sentinel://[user:password@]host[:port],…/service[/number], "
    "with %-escapes in the password"
)
PORT, SENTINEL_PORT = 6379, 26379
#: How long nobody may be heard of before whoever waits for Redis asks whether it is there. A consumer that waits on a
#: half-open connection notices after twice as long and a second.
HEALTH_S = 5

_URL = re.compile(
    r"(?P<scheme>redis|rediss|unix|redis\+sentinel)://(?:(?P<login>[^@/?#\s]*)@)?(?P<hosts>[^@/?#\s]*)"
    r"(?P<path>/[^?#\s]*)?(?:\?db=(?P<db>\d+))?"
)
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """`hosts` are of the server, or of its sentinels, who know it as `service`; a `path` is a socket's."""

    kind: Literal["tcp", "tls", "unix", "sentinel"]
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str = ""
    password: str = ""

    def login(self) -> dict[str, str]:
        """The user and the password as redis-py takes them."""
        return {name: value for name, value in vars(self).items() if name in ("username", "password") and value}

    def celery_url(self) -> str:
        """As kombu and Flower want it."""
        if self.kind == "unix":
            return f"redis+{self._socket_url()}"
        return self._host_urls()

    def backend_url(self) -> str:
        """As Celery's result backend wants it."""
        return self._socket_url() if self.kind == "unix" else self._host_urls()

    def _host_urls(self) -> str:
        scheme = {"tcp": "redis", "tls": "rediss", "sentinel": "sentinel"}[self.kind]
        names = [f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name, port in self.hosts]
        return ";".join(f"{scheme}://{self._prefix()}{name}/{self.db}" for name in names)

    def _socket_url(self) -> str:
        return f"socket://{self._prefix()}{self.path}?virtual_host={self.db}"

    def _prefix(self) -> str:
        if not (self.username or self.password):
            return ""
        return f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@"


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Files (PEM): who is trusted beside the system's own authorities (""), and who we are ("" = nobody)."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def options(self) -> dict[str, Any]:
        """As redis-py, kombu and Flower take them. The server's certificate must be valid, and for its name."""
        files = {"ssl_ca_certs": self.ca, "ssl_certfile": self.cert, "ssl_keyfile": self.key}
        given = {name: value for name, value in files.items() if value}
        return {"ssl_cert_reqs": "required", "ssl_check_hostname": True} | given


def parse(text: str) -> RedisAddress:
    """The address. Raises ValueError, which says how it must look."""
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError(FORM)
    scheme, path = found["scheme"], found["path"] or ""
    user, _, password = (found["login"] or "").partition(":")
    login: dict[str, Any] = {"username": unquote(user), "password": unquote(password)}
    if scheme == "unix":
        if found["hosts"] or len(path) < 2:
            raise ValueError(FORM)
        return RedisAddress(kind="unix", path=unquote(path), db=int(found["db"] or 0), **login)
    if found["db"] is not None:
        raise ValueError(FORM)
    if scheme == "redis+sentinel":
        return _sentinel(found["hosts"], path, login)
    [host, *others] = _hosts(found["hosts"], PORT)
    if others:
        raise ValueError(FORM)
    return RedisAddress(kind="tls" if scheme == "rediss" else "tcp", hosts=(host,), db=_number(path[1:]), **login)


def _sentinel(hosts: str, path: str, login: dict[str, Any]) -> RedisAddress:
    service, _, number = path[1:].partition("/")
    if not service:
        raise ValueError(FORM)
    found = tuple(_hosts(hosts, SENTINEL_PORT))
    return RedisAddress(kind="sentinel", hosts=found, service=unquote(service), db=_number(number), **login)


def _hosts(text: str, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for one in text.split(","):
        found = _HOST.fullmatch(one)
        port = int(found["port"] or default_port) if found else 0
        if found is None or not 0 < port < 65536:
            raise ValueError(FORM)
        hosts.append((found["name"].strip("[]"), port))
    return hosts


def _number(text: str) -> int:
    if text and not re.fullmatch(r"\d{1,5}", text):
        raise ValueError(FORM)
    return int(text or 0)
