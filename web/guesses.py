"""Who tries keys is slowed: one wrong key a second from an address, once a few were wrong."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

#: So many wrong keys of an address are answered at once: a client that is set up wrongly is no thief.
FREE = 20
PER_S = 1.0
#: Of more addresses the one that was quiet for longest is forgotten.
ADDRESSES = 4096


class Guesses:
    """What one process has seen of keys. A key that was right once is never held up by another's guesses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Of each address: how many wrong keys it may still send, and since when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._right: set[bytes] = set()
        self._lock = threading.Lock()

    def may_try(self, address: str, token: str) -> bool:
        """Whether this key is looked at now; else in a second or so."""
        return _digest(token) in self._right or self._left_of(address) >= 1

    def note(self, address: str, token: str, *, is_right: bool) -> None:
        """What came of looking at it."""
        with self._lock:
            if is_right:
                self._right.add(_digest(token))  # of keys that there are, so no more than those
                return
            self._left[address] = (self._left_of(address) - 1, self._clock())
            self._left.move_to_end(address)
            if len(self._left) > ADDRESSES:
                self._left.popitem(last=False)

    def _left_of(self, address: str) -> float:
        left, since = self._left.get(address, (float(FREE), 0.0))
        return min(FREE, left + (self._clock() - since) * PER_S)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
