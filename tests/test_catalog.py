"""The operator's catalogue: what it may hold, and what is said when it cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import catalog, settings
from tasks.settings import BadSettings


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The operator's file, not written yet."""
    file = tmp_path / "catalog.toml"
    monkeypatch.setenv("TANDEM_CATALOG", str(file))
    for cached in (settings.get, catalog.models):
        cached.cache_clear()
    yield file
    for cached in (settings.get, catalog.models):
        cached.cache_clear()


def test_an_own_entry_comes_beside_ours_and_wins(own: Path) -> None:
    own.write_text(
        '[[model]]\nid = "tiny-chat"\nvllm = "tiny"\nabilities = ["chat", "code"]\n[[model]]\nid = "b"\nnim = "org/b"\n'
    )
    found = catalog.models()
    assert found["tiny-chat"].ids == {"vllm": "tiny"}
    assert found["tiny-chat"].abilities == {"chat", "code"}
    assert found["b"].abilities == {"chat"}
    assert "nvidia/nemotron-3-nano-30b-a3b" in found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff", "utf-8"),
        (b"[[model]\n", "line 1"),
        (b'model = "a"\n', "nothing but [[model]]"),
        (b'[[models]]\nid = "a"\n', "nothing but [[model]]"),
        (b"model = [1]\n", "entry 1 has no id"),
        (b'[[model]]\nid = "a"\n[[model]]\nnim = "b"\n', "entry 2 has no id"),
        (b"[[model]]\nid = 5\n", "entry 1 has no id"),
        (b'[[model]]\nid = "a"\nabilities = "chat"\n', "abilities must be some of chat"),
        (b'[[model]]\nid = "a"\nabilities = ["sing"]\n', "abilities must be some of chat"),
        (b'[[model]]\nid = "a"\nabilities = [[]]\n', "abilities must be some of chat"),
        (b'[[model]]\nid = "a"\nnimm = "b"\n', "nimm is none of id, abilities"),
        (b'[[model]]\nid = "a"\nnim = ""\n', "nim must be the model's name"),
    ],
)
def test_one_that_cannot_be_understood_is_refused_in_one_sentence(own: Path, text: bytes, words: str) -> None:
    own.write_bytes(text)
    with pytest.raises(BadSettings) as caught:
        catalog.models()
    said = str(caught.value)
    assert said.startswith(f"TANDEM_CATALOG is not valid: {own}: ")
    assert words in said
    assert "\n" not in said


def test_one_that_cannot_be_read_is_refused(own: Path) -> None:
    with pytest.raises(BadSettings, match=r"cannot be read .No such file"):
        catalog.models()
    own.mkdir()
    with pytest.raises(BadSettings, match=r"cannot be read .Is a directory"):
        catalog.models()
