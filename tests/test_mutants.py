"""The tables of `make mutants`: whoever changes a line that a row changes finds the row."""

from __future__ import annotations

import pytest

from tests.mutants import table
from tests.mutants.copy import ROOT

CHANGES = list(table.changes())


@pytest.mark.parametrize("change", CHANGES, ids=[f"{one.kind}: {one.name}" for one in CHANGES])
def test_a_row_changes_one_text_and_names_tests_that_are_there(change: table.Change) -> None:
    assert (ROOT / change.file).read_text().count(change.old) == 1
    assert change.new != change.old
    assert change.tests
    assert all((ROOT / test.partition("::")[0]).exists() for test in change.tests)
