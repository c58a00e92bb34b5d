"""How the C library keeps memory. By default each thread of glibc keeps the tens of megabytes that an image took, for
itself: sixteen threads that decoded one after another held 1.6 GB."""

from __future__ import annotations

import contextlib
import ctypes

#: glibc's name for the size from which a block is mapped by itself, and so given back when it is freed. Once set, glibc
#: does not raise it any more.
M_MMAP_THRESHOLD = -3
LARGE_BYTES = 1 << 20


def give_large_blocks_back() -> None:
    """Let freed blocks of a megabyte or more go back to the system at once. Does nothing without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
