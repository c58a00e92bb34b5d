"""Who may ask a service that asks for no key: whoever is on this machine, but no page of a browser on it.

A page from anywhere can have its visitor's browser send requests to 127.0.0.1; and once its own name points there
(DNS rebinding), read the answers. Both show in headers that a page cannot forge: Host, Origin and Sec-Fetch-Site.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Under these names a service on this machine is called.
LOCAL = frozenset({"127.0.0.1", "[::1]", "localhost"})
#: A Host header: a name or an address (IPv6 in brackets), and a port.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/\s]+)(?::\d{1,5})?", re.IGNORECASE)
#: These change nothing, and another site's page cannot read their answers.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: What a browser says of a request that another site's page made, or another port's.
_FOREIGN = frozenset({"cross-site", "same-site"})


@dataclass(frozen=True, kw_only=True)
class AccessDenied:
    """Why a request is not answered: an HTTP status, a stable word and a sentence."""

    status: int
    word: str
    detail: str


WRONG_HOST = AccessDenied(
    status=421,
    word="host-not-allowed",
    detail="this service is not known under the name in Host: without API keys it answers to 127.0.0.1, [::1], "
    "localhost, TANDEM_HOST and the names in TANDEM_HOSTS",
)
FOREIGN_PAGE = AccessDenied(
    status=403,
    word="foreign-origin",
    detail="a page of another site asks, by Origin or Sec-Fetch-Site: without API keys it may change nothing here",
)


@dataclass(frozen=True)
class LocalAccess:
    """The names that are answered, in lower case and with IPv6 addresses in brackets."""

    names: frozenset[str]

    @classmethod
    def of(cls, host: str, further: Iterable[str]) -> LocalAccess:
        """This machine's own names, the address `host` that is listened on, and `further` ones."""
        return cls(LOCAL | {_bracketed(name.lower()) for name in (host, *further)})

    def denied(self, *, method: str, host: str | None, origin: str | None, site: str | None) -> AccessDenied | None:
        """Why a request with these headers is not answered; None when it is. Without Host it comes from no browser."""
        if host is not None and name_in(host) not in self.names:
            return WRONG_HOST
        if method in _SAFE:
            return None
        return FOREIGN_PAGE if _is_foreign(host, origin, (site or "").lower()) else None


def name_in(host: str) -> str:
    """The name in a Host header, in lower case; "" when there is none. Raises nothing."""
    found = _HOST.fullmatch(host)
    return found[1].lower() if found else ""


def host_name(text: str) -> str:
    """`text`, if it is a name or an address without a port. Raises ValueError."""
    if not text.isascii() or name_in(_bracketed(text)) != _bracketed(text).lower():
        raise ValueError("a host is a name or an address, without scheme, port or path")
    return text


def _is_foreign(host: str | None, origin: str | None, site: str) -> bool:
    if site in _FOREIGN:
        return True
    # "same-origin" also holds behind a proxy that puts another name into Host.
    return origin is not None and site != "same-origin" and _host_of(origin) != (host or "").lower()


def _host_of(origin: str) -> str:
    """The host and port that a page came from; "null" has none."""
    try:
        return urlsplit(origin.lower()).netloc
    except ValueError:
        return ""


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name
