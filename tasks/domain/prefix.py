"""How a request begins, as short hashes: requests that begin alike can be told without their text."""

from __future__ import annotations

from base64 import b64encode
from hashlib import blake2b

#: Beginnings that are compared, in bytes of the request's JSON, whose messages come first. An engine keeps what it has
#: computed of a beginning in blocks of 16 tokens or more: less than the shortest is not worth an order of its own, and
#: what two requests share is seen to at least its half.
LENGTHS = tuple(256 << n for n in range(8))
#: Characters of one hash. Two beginnings that seem alike by chance are put beside each other, which harms nobody.
HASH_CHARS, HASH_BYTES = 4, 3


def of(request: str) -> str:
    """A hash for each of LENGTHS that the request has, one after another; "" for a short one.

    A whole system message would not do in their place: as often the text that many items have in common (a document
    that each asks something else of) begins the first message of the user.
    """
    text = request[: LENGTHS[-1]].encode()
    read, found, begun = blake2b(digest_size=HASH_BYTES), "", 0
    for length in LENGTHS:
        if len(text) < length:
            break
        read.update(text[begun:length])
        found, begun = found + b64encode(read.digest()).decode(), length
    return found


def beginnings(prefix: str) -> list[str]:
    """What `of` said, cut to each of its lengths: the shortest beginning first."""
    return [prefix[:upto] for upto in range(HASH_CHARS, len(prefix) + 1, HASH_CHARS)]
