"""An exact sliding log: how much was booked within the last `window_s` seconds."""

from __future__ import annotations

from collections import deque


class Window:
    """Amounts with their times. Times are monotonic seconds and must not go back."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.peak = 0
        self._entries: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> int:
        """What was booked later than `window_s` before now."""
        while self._entries and self._entries[0][0] <= now - self.window_s:
            self._sum -= self._entries.popleft()[1]
        return self._sum

    def book(self, now: float, amount: int) -> None:
        """Add an amount at this moment; `peak` keeps the most that any window held."""
        self._entries.append((now, amount))
        self._sum += amount
        self.peak = max(self.peak, self.used(now))

    def room_in_s(self, now: float, amount: int, limit: int) -> float:
        """Seconds until `amount` fits under `limit`; 0 when it does now, one whole window when it never can."""
        excess = self.used(now) + amount - limit
        if excess <= 0:
            return 0.0
        for at, booked in self._entries:
            excess -= booked
            if excess <= 0:
                return at + self.window_s - now
        return self.window_s
