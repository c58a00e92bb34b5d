"""The URL of an image taken apart, once: what is checked is what is connected to, so no second parser has a say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from tasks.domain.errors import TandemError
from tasks.domain.network import parsed

PORTS = {"http": 80, "https": 443}
LONGEST = 8192
#: What urlsplit would drop or browsers would take for a slash: such a URL means different things to different readers.
MISLEADING = re.compile(r"[\x00-\x20\x7f\\]")
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
#: Browsers and inet_aton read a name that ends in a number as an address: 2130706433, 0x7f.1, 0177.0.0.1.
NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
#: Kept as they are in a path or query; what is already quoted stays.
SAFE = "/?:@!$&'()*+,;=%-._~[]"


class BadURL(TandemError):
    """The URL cannot be fetched as it stands. The message is fit for a client."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where something is. `host` is a lower-case name or an address without brackets; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL again."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def to(self, reference: str) -> Location:
        """Where a redirect leads. Raises BadURL."""
        if not reference:
            raise BadURL("the URL redirects to nowhere")
        if MISLEADING.search(reference):
            raise BadURL("the URL has characters that no URL has")
        try:
            return parse(urljoin(self.url, reference))
        except ValueError as error:
            raise BadURL("the URL cannot be read") from error


def parse(url: str) -> Location:
    """Take `url` apart. Raises BadURL unless it is a plain http or https URL without credentials."""
    if len(url) > LONGEST:
        raise BadURL(f"the URL is longer than {LONGEST} characters")
    if MISLEADING.search(url):
        raise BadURL("the URL has characters that no URL has")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise BadURL("the URL cannot be read") from error
    if parts.scheme not in PORTS:
        raise BadURL("only http and https URLs are fetched")
    if "@" in parts.netloc:
        raise BadURL("the URL must not have credentials in it")
    target = quote(parts.path or "/", safe=SAFE) + (f"?{quote(parts.query, safe=SAFE)}" if parts.query else "")
    default = PORTS[parts.scheme]
    host = _host(host, in_brackets="[" in parts.netloc)
    return Location(scheme=parts.scheme, host=host, port=default if port is None else port, target=target)


def _host(host: str, *, in_brackets: bool) -> str:
    if in_brackets:
        if "%" in host or parsed(host) is None:
            raise BadURL("the URL's host is no address that can be fetched from")
        return host
    name = _ascii(host).removesuffix(".")
    labels = name.split(".")
    if NUMBER.fullmatch(labels[-1]) and parsed(name) is None:
        raise BadURL("the URL's host is an address in an unusual form")
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise BadURL("the URL's host is not a valid name")
    return name


def _ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return host.encode("idna").decode().lower()
    except UnicodeError as error:
        raise BadURL("the URL's host is not a valid name") from error
