"""How long erased prompts and answers stay on disk: Valkey's log keeps what was written until it is written anew."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from redis.exceptions import RedisError

from tasks.store import connection

#: A record that was erased is in the log for so long at most, and the time that rewriting takes.
KEPT_S = 24 * 3600.0
LOOK_S = 60.0


class Erasure:
    """Has the log of the Valkey at `url`, whose data lie in `directory`, written anew once a day.

    Valkey itself does that when the log has doubled, which a quiet service never comes to. The age is that of the file
    which the last rewriting made, so runs of an hour a day add up.
    """

    def __init__(self, directory: Path, url: str) -> None:
        self._log = directory / "appendonlydir"
        self._url = url
        self._look_at = 0.0

    def tick(self) -> None:
        """Look, no more than once a minute, whether it is time. Never raises: it is tried again."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        if self._age_s() >= KEPT_S:
            with contextlib.suppress(RedisError), connection.connect(self._url) as redis:
                redis.bgrewriteaof()

    def _age_s(self) -> float:
        try:
            return time.time() - min(base.stat().st_mtime for base in self._log.glob("*.base.*"))
        except (OSError, ValueError):  # none yet, or replaced at this moment
            return 0.0
