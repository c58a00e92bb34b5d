"""Tells the fleet that a gpu worker is coming, so that the first POST is routed to it while it still starts."""

from __future__ import annotations

import socket
import time

from tasks import serving
from tasks.domain.errors import Unavailable
from tasks.engine import loading
from tasks.serving import GPU
from tasks.settings import Settings
from tasks.store.fleet import Fleet, Worker

#: A worker that has not said hello by then is not coming soon: jobs must not wait for it.
PATIENCE_S = 60.0


class Announcement:
    """The word of a gpu worker that has not said hello yet."""

    def __init__(self, here: Settings, fleet: Fleet) -> None:
        self._here = here
        self._fleet = fleet
        self._name = f"expected-{GPU}@{socket.gethostname()}"
        self._began_at = time.monotonic()
        self._next_at = 0.0
        self._load_s = loading.last_s(loading.run_dir(here.data, here.device))
        self._known: set[str] | None = None
        self.is_over = False

    def tick(self) -> None:
        """Say hello if it is time to; take it back once the real one has said it. Redis away: the next tick will do."""
        if self.is_over or time.monotonic() < self._next_at:
            return
        # Often enough to live, and to see the real worker soon.
        self._next_at = time.monotonic() + min(1.0, self._here.heartbeat_s)
        try:
            self._say()
        except Unavailable:
            return

    def end(self) -> None:
        """Take the word back."""
        if self.is_over:
            return
        self.is_over = True
        try:
            self._fleet.goodbye(self._name)
        except Unavailable:
            return

    def _say(self) -> None:
        others = {one.name for one in self._fleet.workers() if GPU in one.consumes and one.name != self._name}
        # Those of an earlier run may still be on the list for the length of a lease.
        self._known = others if self._known is None else self._known
        waited_s = time.monotonic() - self._began_at
        if others - self._known or waited_s > PATIENCE_S:
            self.end()
            return
        self._fleet.hello(
            Worker(
                name=self._name, queues=GPU, providers=serving.LOCAL, state="loading",
                model=serving.local_model(self._here), device=self._here.device,
                ready_in_s=max(1.0, self._load_s - waited_s),
            )
        )  # fmt: skip
