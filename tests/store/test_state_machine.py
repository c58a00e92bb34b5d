"""Whatever happens in whatever order, no job is lost, none ends twice, and each unfinished one is watched once.

The scripts run on a real Valkey.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.store.lifecycle import Lifecycle
from tests.support.valkey import Valkey


@pytest.mark.timeout(300)
def test_no_interleaving_loses_a_job_or_ends_it_twice(valkey: Valkey) -> None:
    machine = type("Lifecycle", (Lifecycle,), {"redis": valkey.client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=200, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )  # fmt: skip
