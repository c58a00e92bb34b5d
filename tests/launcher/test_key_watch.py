"""What the terminal of `make run` says of a key that is refused."""

from __future__ import annotations

import pytest

from tasks.launcher.key_watch import KeyWatch
from tasks.store.access import Access
from tasks.store.circuits import Breaker
from tests.support.valkey import Valkey


def test_the_operator_is_told_once_which_key_is_refused_and_when_it_is_accepted_again(
    valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    access = Access(valkey.client, breaker=Breaker())
    watch = KeyWatch(access)
    access.begin("nim", "one")
    watch.look()
    access.hold("nim", "authentication_failed")
    watch.look()
    watch.look()
    said = capsys.readouterr()
    assert said.err.count("nim does not accept the key in NVIDIA_API_KEY") == 1
    access.begin("nim", "two")
    watch.look()
    watch.look()
    assert capsys.readouterr().out.count("nim accepts the key in NVIDIA_API_KEY again") == 1
