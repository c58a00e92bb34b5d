"""API keys: who is let in, and what a bad setting says."""

from __future__ import annotations

import pytest

from tasks.domain.keyring import Keyring
from tasks.launcher import checks
from tasks.settings import Settings
from tests.web.conftest import MakeClient

PROTECTED = [
    ("GET", "/jobs"),
    ("POST", "/jobs"),
    ("GET", "/jobs/job_x"),
    ("DELETE", "/jobs/job_x"),
    ("POST", "/jobs/job_x/cancel"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic b25l", "Bearer one two", "one"]
)
def test_without_a_valid_key_nothing_is_told(
    make_client: MakeClient, method: str, path: str, header: str | None
) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one")
    answer = client.open(path, method=method, headers={} if header is None else {"Authorization": header})
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.get_json()["status"] == 401


def test_a_valid_key_lets_in(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one, ann:another,\nbob:two:with:colons")
    for key in ("one", "another", "two:with:colons"):
        assert client.get("/jobs", headers={"Authorization": f"bearer {key}"}).status_code == 200


@pytest.mark.parametrize("key", ["sk-a=b+c/d", "sk=", "a==", 'a="b"', "x=y;z", "~!#$%&'()*<>?@[]^_`{|}"])
def test_whatever_is_in_a_key_it_lets_in_and_nothing_like_it_does(make_client: MakeClient, key: str) -> None:
    client = make_client(TANDEM_API_KEYS=f"ann:{key}")
    for said, status in ((key, 200), (f" {key} ", 200), (key[:-1], 401), (f"{key}=", 401), (f"{key} x", 401)):
        assert client.get("/jobs", headers={"Authorization": f"Bearer {said}"}).status_code == status, said


def test_short_keys_are_counted_for_a_warning() -> None:
    keys = Keyring.parse(f"ann:{'x' * 19},bob:{'y' * 20},cid:{'a:' * 10}z,dan:s")
    assert keys.short == 2
    assert list(checks.key_warnings(Settings.model_validate({"TANDEM_API_KEYS": f"ann:{'x' * 20}"}))) == []
    (said,) = checks.key_warnings(Settings.model_validate({"TANDEM_API_KEYS": "ann:s3cret,bob:other"}))
    assert "2 keys of fewer than 20" in said
    assert "s3cret" not in said


def test_two_keys_of_one_owner_see_the_same_jobs(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one,ann:another")
    answer = client.post("/jobs", json={"prompt": "hi"}, headers={"Authorization": "Bearer one"})
    other = client.get(answer.headers["Location"], headers={"Authorization": "Bearer another"})
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs"])
def test_health_and_documentation_need_no_key(make_client: MakeClient, path: str) -> None:
    assert make_client(TANDEM_API_KEYS="ann:one").get(path).status_code == 200


def test_without_keys_everything_is_open_and_a_key_is_ignored(make_client: MakeClient) -> None:
    client = make_client()
    answer = client.post("/jobs", json={"prompt": "hi"}, headers={"Authorization": "Bearer whatever"})
    assert answer.status_code == 202
    assert client.get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize(
    "text",
    ["s3cret", "ann:one,s3cret", ":s3cret", "ann:", "a b:s3cret", "ann:s3 cret", "x" * 65 + ":s3cret",
     "ann:s3cret,bob:s3cret", ",", "ann:s3crét", "ann:s3\x01cret", "ann:s3\u2028cret", "ann:s3\udce9cret"],
)  # fmt: skip
def test_keys_that_cannot_be_read_are_told_without_the_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"entry|no key") as caught:
        Keyring.parse(text)
    assert "s3" not in str(caught.value)


def test_keys_are_held_only_as_digests() -> None:
    assert "s3cret" not in repr(Keyring.parse("ann:s3cret"))
