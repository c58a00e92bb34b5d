"""The seam between a job and whoever answers it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol

from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.errors import CallCut
from tasks.domain.provider_errors import ProviderTimeout
from tasks.domain.request import ChatRequest
from tasks.domain.result import ChatResult, Completion, EmbeddingResult

#: Why calls are cut: their time is over, or the provider's limits had no room when they were to be sent.
DEADLINE, NO_ROOM = "deadline", "no room"
#: How often a call that pauses looks whether it was cut.
CUT_LOOK_S = 0.1


class Call:
    """One running model call, and the handle by which another thread ends it at once.

    `request_id` is sent upstream as X-Request-Id. `timeout_s` is the total time the call may take, connecting
    included; a watcher calls `cut(DEADLINE)` when `overdue()`. `priority`: the lower goes first, in an engine of ours.
    """

    def __init__(self, *, request_id: str, timeout_s: float, priority: int = 0) -> None:
        self.request_id = request_id
        self.priority = priority
        self.ends_at = time.monotonic() + timeout_s
        self.why_cut: str | None = None
        #: How often the request was sent, and not before when at last (monotonic): what a provider's limits count.
        self.sends = 0
        self.sent_at: float | None = None
        #: Books room for a further request in the provider's limits, by its number: seconds until it may be sent.
        self.book_further: Callable[[int], float] | None = None
        #: Lets the call count in the limits from now on, if they have room; it counts since `counted_at` (monotonic).
        self.book_sending: Callable[[], bool] | None = None
        self.counted_at = time.monotonic()
        #: So much later than `counted_at` it may be sent without being counted anew.
        self.late_after_s = 0.0
        #: How many further requests have room of their own.
        self.booked = 0
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def await_room(self) -> None:
        """Before each request but the first: wait until the provider's limits have room for it.

        Raises CallCut at once when cut, ProviderTimeout when overdue.
        """
        if self.book_further is None:
            return
        while (wait_s := self.book_further(self.booked + 2)) > 0:
            self.pause(until=time.monotonic() + wait_s)
        self.booked += 1
        self.counted_at = time.monotonic()

    def about_to_send(self) -> None:
        """Before a request is written: where that is long after it was counted, it counts from now on.

        Raises CallCut when the limits have no room for it any more.
        """
        if self.book_sending is None or time.monotonic() - self.counted_at <= self.late_after_s:
            return
        if not self.book_sending():
            self.cut(NO_ROOM)
            self.raise_if_cut()
        self.counted_at = time.monotonic()

    def pause(self, *, until: float) -> None:
        """Wait until that moment (monotonic). Raises CallCut at once when cut, ProviderTimeout when overdue."""
        while (left_s := until - time.monotonic()) > 0:
            self.raise_if_cut()
            if self.overdue():
                raise ProviderTimeout("no answer within the call's time")
            time.sleep(min(left_s, CUT_LOOK_S))

    def remaining_s(self) -> float:
        """Seconds left of the call's total time; negative when over."""
        return self.ends_at - time.monotonic()

    def overdue(self) -> bool:
        """Whether the total time is used up."""
        return self.remaining_s() <= 0

    def attach(self, sock: socket.socket) -> None:
        """Say on which socket the call runs now. Raises CallCut if it was ended meanwhile."""
        with self._lock:
            self._socket = sock
        self.sent_at = time.monotonic()
        self.raise_if_cut()

    def detach(self) -> None:
        """The socket is no longer this call's: it may serve another one."""
        with self._lock:
            self._socket = None

    def cut(self, why: str) -> None:
        """End the call: its socket is shut down, so that the upstream drops the request. The first reason stays."""
        with self._lock:
            if self.why_cut is None:
                self.why_cut = why
            if self._socket is not None:
                # The plain shutdown also for TLS: SSLSocket.shutdown would pull the TLS object from under the reader.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def raise_if_cut(self) -> None:
        """Raise CallCut when somebody has ended the call."""
        if self.why_cut is not None:
            raise CallCut(self.why_cut)


class Provider(Protocol):
    """Somebody who answers chats. One instance serves all threads of a process."""

    name: str
    #: Whether it asks for a key of ours, which it may refuse.
    has_key: bool

    def complete(self, model: str, request: ChatRequest, call: Call) -> Completion[ChatResult]:
        """Answer `request` with `model`. Raises a ProviderError, or CallCut when `call` was ended by us."""
        ...

    def models(self, call: Call) -> frozenset[str]:
        """The ids it lists: those it has, not those that our key may call. Raises as `complete` does."""
        ...

    def check_key(self, call: Call) -> None:
        """Ask for something that costs nothing. Raises as `complete` does, with `of_key` where the key is refused."""
        ...

    def embed(self, model: str, request: EmbeddingRequest, call: Call) -> Completion[EmbeddingResult]:
        """Turn texts into vectors with `model`. Raises the same."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...
