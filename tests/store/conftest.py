"""The records on the tests' Valkey."""

from __future__ import annotations

import pytest

from tasks.store.jobs import Jobs
from tests.support.valkey import Valkey


@pytest.fixture
def store(valkey: Valkey) -> Jobs:
    return Jobs(valkey.client, ttl_s=60)
