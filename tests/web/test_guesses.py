"""Whoever tries keys gets one look a second; who has a key notices nothing."""

from __future__ import annotations

from tests.web.conftest import MakeClient
from web.guesses import ADDRESSES, FREE, Guesses

KEY, LATE = "a-key-of-more-than-20-characters", "a-key-that-comes-late-and-is-long"


def wrong(guesses: Guesses, address: str, count: int) -> None:
    for number in range(count):
        guesses.note(address, f"wrong-{number}", is_right=False)


def test_after_some_wrong_keys_one_a_second_is_looked_at() -> None:
    now = 1000.0
    guesses = Guesses(lambda: now)
    wrong(guesses, "a", FREE - 1)
    assert guesses.may_try("a", "next")
    wrong(guesses, "a", 1)
    assert not guesses.may_try("a", "next")
    assert guesses.may_try("b", "next")
    now += 1.0
    assert guesses.may_try("a", "next")
    wrong(guesses, "a", 1)
    assert not guesses.may_try("a", "next")
    now += 3600
    wrong(guesses, "a", FREE)
    assert not guesses.may_try("a", "next"), "a quiet hour saves up no more than at the beginning"


def test_a_key_that_was_right_is_not_held_up_by_who_shares_its_address() -> None:
    guesses = Guesses()
    guesses.note("a", KEY, is_right=True)
    wrong(guesses, "a", FREE * 2)
    assert guesses.may_try("a", KEY)


def test_no_more_addresses_are_remembered_than_fit() -> None:
    guesses = Guesses(lambda: 1000.0)
    for number in range(ADDRESSES + 10):
        wrong(guesses, f"address-{number}", FREE)
    assert guesses.may_try("address-9", "next")
    assert not guesses.may_try(f"address-{ADDRESSES + 9}", "next")


def test_over_rest_it_is_a_429_that_says_when_to_come_back(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS=f"ann:{KEY},bob:{LATE},cid:short")

    def said(key: str) -> int:
        return client.get("/jobs", headers={"Authorization": f"Bearer {key}"}).status_code

    assert said(KEY) == 200
    assert {said(f"wrong-{number}") for number in range(FREE)} == {401}
    answer = client.get("/jobs", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.content_type) == (429, "application/problem+json")
    assert int(answer.headers["Retry-After"]) >= 1
    assert said(KEY) == 200
    assert client.get("/jobs").status_code == 401, "no key is no guess"
    assert said("another-key-of-more-than-20-characters") == 429
    assert said(LATE) == 200, "a long key is held up by others' guesses"
    assert said("short") == 429, "a short key may be guessed at any rate"
