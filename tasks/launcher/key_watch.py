"""Tells in the terminal which provider refuses our key, and when it accepts it again."""

from __future__ import annotations

from tasks.domain.access import KeyHold
from tasks.domain.errors import Unavailable
from tasks.launcher.terminal import say, warn
from tasks.serving import KEY_VARIABLES
from tasks.store.access import Access

#: What the operator is told of each refusal: what is wrong, and what helps.
REASONS = {
    "authentication_failed": "does not accept the key in {variable}",
    "payment_required": "wants credit that the key in {variable} does not have",
    "access_denied": "does not let the key in {variable} ask its models",
}


class KeyWatch:
    """What was told of the keys so far."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._told: dict[str, str] = {}

    def look(self) -> None:
        """Tell what has changed. Redis away: the next look will do."""
        try:
            held = {one.provider: one for one in self._access.held()}
        except Unavailable:
            return
        for provider, one in held.items():
            if self._told.get(provider) != one.reason:
                warn(sentence(one))
        for provider in self._told.keys() - held.keys():
            say(f"  {provider} accepts the key in {KEY_VARIABLES.get(provider, provider)} again: its jobs go on")
        self._told = {provider: one.reason for provider, one in held.items()}


def sentence(one: KeyHold) -> str:
    """What is wrong with a key, and what follows."""
    what = REASONS.get(one.reason, "refuses the key in {variable}")
    variable = KEY_VARIABLES.get(one.provider, one.provider)
    return (
        f"{one.provider} {what.format(variable=variable)}: its jobs wait, and one call asks again now and then; "
        "with another key start anew"
    )
