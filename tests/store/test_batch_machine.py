"""Whatever happens to a batch in whatever order, each of its items ends once a round, and so does the batch.

The scripts run on a real Valkey.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.store.batch_life import BatchLife
from tests.support.valkey import Valkey


@pytest.mark.timeout(300)
def test_no_interleaving_loses_an_item_or_ends_a_batch_twice(valkey: Valkey) -> None:
    machine = type("BatchLife", (BatchLife,), {"redis": valkey.client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )  # fmt: skip
