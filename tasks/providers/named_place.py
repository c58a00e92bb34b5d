"""Where a provider says that something is to be fetched or put: only where the public internet is, or its own hosts."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from tasks.domain.provider_errors import InvalidResponse

#: What urlsplit would drop, or others take for a slash: such a URL means different things to different readers.
MISLEADING = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A URL that a provider named. `is_its_own`: on a host that the operator named, so it gets our key."""

    url: str
    is_its_own: bool


def place(said: str, *, base: str, own: Collection[str]) -> Place:
    """The place that `said` names, which may be relative to `base`; `own` are URLs on the provider's hosts.

    Raises InvalidResponse where it is no URL of https, or of the scheme of `base`.
    """
    try:
        url = urljoin(base + "/", said)
        parts = urlsplit(url)
        is_sound = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise InvalidResponse("the provider names a place that is no URL") from error
    is_safe = parts.scheme in ("https", urlsplit(base).scheme) and "@" not in parts.netloc
    if not said or not is_sound or not is_safe or MISLEADING.search(url):
        raise InvalidResponse("the provider names a place that is not safe")
    return Place(url=url, is_its_own=origin(url) in map(origin, own))


def origin(url: str) -> tuple[str, str]:
    """Scheme and host with port: what a key may be sent to."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
