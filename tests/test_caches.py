"""What this process remembers of one test must not be there in the next."""

from __future__ import annotations

import pytest

from tasks import settings
from tasks.store import batch_work, batches, jobs, steps
from tests.conftest import caches, forget_caches
from tests.support.valkey import Valkey


def test_whatever_was_made_of_the_environment_is_made_anew(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make() for make in (batches.default, batch_work.default, steps.default, jobs.default)]
    monkeypatch.setenv("TANDEM_LEASE_S", "77")
    assert settings.get().lease_s != 77
    forget_caches()
    assert [one for one in caches() if one.cache_info().currsize] == []
    assert settings.get().lease_s == 77
    again = [make() for make in (batches.default, batch_work.default, steps.default, jobs.default)]
    assert not any(one is other for one, other in zip(made, again, strict=True))
