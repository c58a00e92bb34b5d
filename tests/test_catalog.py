"""The catalogue: what it holds, the names it resolves, and how an operator's file is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks import catalog, catalog_file, serving
from tasks.catalog import CatalogError, Switch
from tasks.serving import Serving
from tasks.settings import BadSettings
from tests.conftest import forget_caches
from tests.support.valkey import Valkey

OPERATIONS = Path(__file__).parents[1] / "docs" / "operations.md"
#: The ids in the documents of the earlier interface (docs/api.md), each once.
_EARLIER = """
meta/llama-3.3-70b-instruct meta/llama-3.1-405b-instruct meta/llama-3.1-70b-instruct meta/llama-3.1-8b-instruct
deepseek-ai/deepseek-r1 deepseek-ai/deepseek-v3.1 deepseek-ai/deepseek-v3.2 qwen/qwq-32b qwen/qwen3-235b-a22b
google/gemma-3-27b-it microsoft/phi-4-mini-instruct mistralai/mistral-large-3-675b-instruct-2512
mistralai/mistral-small-3.1-24b-instruct-2503 nvidia/nemotron-3-nano-30b-a3b nvidia/nemotron-4-340b-instruct
nvidia/llama-3.1-nemotron-ultra-253b-v1 nvidia/llama-3.3-nemotron-super-49b-v1.5 nvidia/cosmos-reason2-8b
qwen/qwen2.5-coder-32b-instruct qwen/qwen3-coder-480b-a35b-instruct mistralai/codestral-22b-instruct-v0.1
mistralai/devstral-2-123b-instruct-2512 bigcode/starcoder2-15b deepseek-ai/deepseek-coder-6.7b-instruct
nvidia/nv-embedqa-e5-v5 nvidia/nv-embed-v1 nvidia/llama-3.2-nv-embedqa-1b-v2 baai/bge-m3 snowflake/arctic-embed-l
meta/llama-3.2-90b-vision-instruct meta/llama-3.2-11b-vision-instruct nvidia/nemotron-nano-12b-v2-vl
microsoft/phi-4-multimodal-instruct microsoft/phi-3.5-vision-instruct deepseek-ai/deepseek-r1-0528
qwen/qwen3-next-80b-a3b-thinking moonshotai/kimi-k2-thinking microsoft/phi-4-mini-flash-reasoning
nvidia/llama-3.1-nemotron-70b-instruct
"""
EARLIER = _EARLIER.split()
LARGE = "mistralai/mistral-large-3-675b-instruct-2512"
VL = "nvidia/nemotron-nano-12b-v2-vl"


@pytest.fixture
def ours() -> dict[str, catalog.Model]:
    return catalog.read(catalog.OURS)


def test_every_model_of_the_earlier_interface_is_listed(ours: dict[str, catalog.Model]) -> None:
    assert len(EARLIER) == len(set(EARLIER)) == 39
    assert set(ours) == {*EARLIER, "tiny-chat", "tiny-vl", "tiny-embed"}
    assert all(ours[name].ids["nim"] == name for name in EARLIER)


@pytest.mark.parametrize(
    ("ability", "count"), [("embedding", 6), ("vision", 10), ("code", 6), ("reasoning", 14), ("chat", 35)]
)
def test_abilities_are_listed(ours: dict[str, catalog.Model], ability: str, count: int) -> None:
    assert len([one for one in ours.values() if one.can(ability)]) == count


def test_facts_hang_together(ours: dict[str, catalog.Model]) -> None:
    for model in ours.values():
        assert model.can("embedding") == (model.dimensions is not None), model.id
        assert model.reasoning is None or model.can("reasoning"), model.id
        assert not model.completions or not model.can("chat"), model.id
        assert not model.asymmetric or "vllm" not in model.ids, model.id


def test_each_kind_of_reasoning_switch_has_its_models(ours: dict[str, catalog.Model]) -> None:
    switches = {one.id.partition("/")[2]: one.reasoning for one in ours.values() if one.reasoning}
    assert switches["llama-3.1-nemotron-ultra-253b-v1"] is Switch.DETAILED_THINKING
    assert switches["nemotron-nano-12b-v2-vl"] is Switch.SLASH_THINK
    assert switches["nemotron-3-nano-30b-a3b"] is Switch.ENABLE_THINKING
    assert switches["deepseek-r1"] is Switch.ALWAYS


def test_the_file_and_the_code_have_the_same_switches() -> None:
    assert set(catalog_file.SWITCHES) == {switch.value for switch in Switch}


def test_a_model_answers_to_all_its_names(valkey: Valkey) -> None:
    for alias in ("mistralai/mistral-large-3-675b", "mistralai/Mistral-Large-3-675B-Instruct-2512", LARGE):
        found = catalog.find(alias)
        assert found is not None
        assert found.id == LARGE
    assert f"{VL}:free" in catalog.names(VL)
    assert catalog.find("nobody/knows") is None
    assert catalog.names("nobody/knows") == {"nobody/knows"}


@pytest.mark.parametrize(
    ("provider", "name", "expected"),
    [
        ("nim", "mistralai/mistral-large-3-675b", LARGE),
        ("sandbox", "mistralai/mistral-large-3-675b", LARGE),
        ("nim", f"{VL}:free", VL),
        ("openrouter", VL, f"{VL}:free"),
        ("openrouter", LARGE, None),
        ("sandbox", "sandbox/anything", "sandbox/anything"),
        ("nim", "sandbox/anything", None),
        ("nim", "default", ""),
    ],
)
def test_a_provider_is_asked_by_its_own_name(valkey: Valkey, provider: str, name: str, expected: str | None) -> None:
    here = Serving(queue="api", provider=provider, target="some/default", base_url="")
    assert serving.target(here, name) == expected


def test_those_that_look_alike_are_named(valkey: Valkey) -> None:
    assert "qwen/qwq-32b" in catalog.near("qwen/qwq-32")
    assert catalog.near("acme/very-own", ["acme/very-own-1"]) == ("acme/very-own-1",)


# ---- an operator's own file -----------------------------------------------------------------


def test_an_operators_entries_are_added_and_replace(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        f'[[model]]\nid = "acme/own"\naliases = ["{VL}:free", "own"]\nnim = "acme-own-v1"\nabilities = ["chat"]\n'
        f'[[model]]\nid = "{LARGE}"\nnim = "mine"\n'
    )
    monkeypatch.setenv("TANDEM_CATALOG", str(own))
    forget_caches()
    assert catalog.models()[LARGE].ids == {"nim": "mine"}
    assert len(catalog.models()) == 43
    for name in ("own", "acme-own-v1", f"{VL}:free"):  # the later file has the alias
        assert catalog.find(name) is catalog.models()["acme/own"]
    assert catalog.find(VL) is catalog.models()[VL]


def test_an_operators_file_that_cannot_be_used_is_a_setting_that_cannot(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_CATALOG", str(tmp_path / "none.toml"))
    forget_caches()
    with pytest.raises(BadSettings) as refused:
        catalog.models()
    assert str(refused.value).startswith(f"TANDEM_CATALOG is not valid: {tmp_path / 'none.toml'} cannot be read")


ENTRY = '[[model]]\nid = "a/b"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id = ", "is not TOML"),
        ('[[models]]\nid = "a"', "'models' is no part of a catalogue"),
        ('model = "a"', "must begin with [[model]]"),
        ('[model]\nid = "a"', "must begin with [[model]]"),
        ('[[model]]\nnim = "a"', "entry 1 has no id"),
        ("[[model]]\nid = 5", "entry 1 (5): id must be a name"),
        ('[[model]]\nid = "default"', "id must be a name"),
        ('[[model]]\nid = "a b"', "id must be a name"),
        ('[[model]]\nid = "a//b"', "id must be a name"),
        (ENTRY + 'colour = "red"', "entry 1 ('a/b'): 'colour' is no field of a model"),
        (ENTRY + 'abilities = ["chat", "sing"]', "abilities must be a list of some of chat, vision"),
        (ENTRY + "abilities = []", "abilities must be"),
        (ENTRY + 'abilities = "chat"', "abilities must be"),
        (ENTRY + "nim = 3", "nim must be a name"),
        (ENTRY + 'aliases = "x"', "aliases must be a list"),
        (ENTRY + "context = 0", "context must be a whole number above 0"),
        (ENTRY + 'context = "8k"', "context must be"),
        (ENTRY + "dimensions = true", "dimensions must be"),
        (ENTRY + "completions = 1", "completions must be true or false"),
        (ENTRY + 'reasoning = "hard"', "reasoning must be one of detailed thinking"),
        (ENTRY + 'endpoints = {nim = "ftp://x"}', "endpoints must be a table of URLs"),
        (ENTRY + 'endpoints = {acme = "https://x"}', "endpoints must be"),
        (ENTRY + "sampling = {temperature = 3}", "sampling must be a table of temperature"),
        (ENTRY + "sampling = {heat = 1}", "sampling must be"),
        (ENTRY + ENTRY, "entry 2 ('a/b'): the name 'a/b' is used twice"),
        (ENTRY + '[[model]]\nid = "c"\naliases = ["a/b"]', "entry 2 ('c'): the name 'a/b' is used twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(CatalogError) as refused:
        catalog.read(own)
    assert str(refused.value).startswith(f"{own}: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for file, said in ((tmp_path / "absent", "No such file"), (tmp_path, "cannot be read"), (binary, "not UTF-8")):
        with pytest.raises(CatalogError, match=said):
            catalog.read(file)


def test_the_documented_form_is_one_that_is_taken(tmp_path: Path) -> None:
    documented = re.search(r"```toml\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert documented is not None
    own = tmp_path / "own.toml"
    own.write_text(documented[1])
    (model,) = catalog.read(own).values()
    assert (model.ids["vllm"], model.reasoning) == ("acme/Writer-7B", Switch.ENABLE_THINKING)
    assert set(catalog_file.FIELDS) == set(re.findall(r"^(\w+) =", documented[1], re.MULTILINE))
