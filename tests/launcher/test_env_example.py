"""`.env.example` lists what Settings reads, with the same defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import AliasChoices, TypeAdapter
from pydantic.fields import FieldInfo

from tasks.settings import Settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
LINES = EXAMPLE.read_text().splitlines()
LISTED = {match[1]: match[2] for line in LINES if (match := re.fullmatch(r"#([A-Z_]+)=(.*)", line))}


def name_of(field: FieldInfo) -> str:
    assert isinstance(field.validation_alias, AliasChoices)
    return str(field.validation_alias.choices[0])


FIELDS = {name_of(field): field for field in Settings.model_fields.values()}


def test_the_example_lists_every_variable_and_no_other() -> None:
    assert set(LISTED) == set(FIELDS)
    assert len(LISTED) == sum("=" in line and line.startswith("#") and line[1:2].isupper() for line in LINES)


@pytest.mark.parametrize("name", FIELDS)
def test_the_example_gives_the_default(name: str) -> None:
    field = FIELDS[name]
    said = TypeAdapter[object](field.annotation or str).validate_python(LISTED[name] or field.default)
    assert said == field.default


@pytest.mark.parametrize("name", FIELDS)
def test_every_variable_has_its_meaning_in_the_line_above(name: str) -> None:
    above = LINES[LINES.index(f"#{name}={LISTED[name]}") - 1]
    assert re.fullmatch(r"# \S.{8,}\.", above)
