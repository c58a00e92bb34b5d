"""How much may be made for one schema: it is a client's, and may ask for more than any answer can hold."""

from __future__ import annotations

#: Values, their characters, and words of schemas that are looked at: some tens of milliseconds.
MOST_STEPS = 100_000


class Unsatisfiable(Exception):  # the client's schema, not an error of ours
    """Nothing satisfies this part of a schema, or nothing that is simulated."""


class TooLarge(Exception):
    """What the schema asks for is larger, or deeper, than what is simulated."""


class Budget:
    """So many steps, for all that is tried on the way to one answer."""

    def __init__(self, most: int = MOST_STEPS) -> None:
        self._left = most

    def spend(self, steps: int = 1) -> None:
        """Raises TooLarge when nothing is left."""
        self._left -= steps
        if self._left < 0:
            raise TooLarge("the schema asks for more than is simulated")
