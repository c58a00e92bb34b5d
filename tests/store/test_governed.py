"""The same under limits: none is exceeded, no room is lost, and whoever waits for room gets it in the end."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.store.governed import Governed
from tests.support.valkey import Valkey


@pytest.mark.timeout(300)
def test_no_interleaving_exceeds_a_limit_or_loses_room(valkey: Valkey) -> None:
    machine = type("Governed", (Governed,), {"redis": valkey.client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )  # fmt: skip
