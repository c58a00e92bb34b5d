"""Who may ask: owners and their API keys, of which only digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

#: An owner's name becomes part of Redis keys.
OWNER = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: A key is sent in a header, where clients and servers agree on these characters only.
KEY = re.compile(r"[!-~]+")
#: Characters of a key that nobody guesses, if they are random.
LONG_ENOUGH = 20
FORM = "owner:key (owner: 1-64 letters, digits, '.', '_', '-'; key: printable ASCII characters, no spaces)"


@dataclass(frozen=True)
class Keyring:
    """The owners and the sha-256 digests of their keys. The keys themselves are not kept."""

    held: tuple[tuple[str, bytes], ...]
    #: How many of them are shorter than LONG_ENOUGH.
    short: int = 0

    def __bool__(self) -> bool:
        """Whether a key is asked for at all."""
        return bool(self.held)

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read `owner:key` pairs, separated by commas or lines. Raises ValueError, whose words never hold a key."""
        pairs = [pair.strip() for pair in text.replace("\n", ",").split(",")]
        held: dict[bytes, str] = {}
        short = 0
        for place, pair in enumerate(pairs, 1):
            if not pair:
                continue
            owner, digest = _pair(place, pair)
            short += len(pair.partition(":")[2]) < LONG_ENOUGH
            if held.setdefault(digest, owner) != owner:
                raise ValueError(f"entry {place} is a key that another owner has too")
        if text.strip() and not held:
            raise ValueError("it holds no key")
        return cls(tuple((owner, digest) for digest, owner in held.items()), short=short)

    def owner_of(self, token: str) -> str | None:
        """Whose key this is. Every digest is compared, so the time taken tells nothing."""
        digest = _digest(token)
        found = None
        for owner, held in self.held:
            if hmac.compare_digest(digest, held):
                found = owner
        return found


def _pair(place: int, pair: str) -> tuple[str, bytes]:
    owner, colon, key = pair.partition(":")
    if not colon or not OWNER.fullmatch(owner) or not KEY.fullmatch(key):
        raise ValueError(f"entry {place} is not {FORM}")
    return owner, _digest(key)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
