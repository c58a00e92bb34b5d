"""What a limit learns of refusals, of full use and of answers: on a real Valkey, by the script's own figures."""

from __future__ import annotations

from typing import Any

from tasks.store import keys
from tasks.store.rate import Ended
from tests.store import clock
from tests.store.test_rate import PROVIDER, House, over
from tests.support.valkey import Valkey


def figure(valkey: Valkey, name: str) -> int | None:
    said: Any = valkey.client.hget(keys.limit(PROVIDER), name)
    return None if said is None else int(said)


def learned_was(valkey: Valkey, **figures: int) -> None:
    """What earlier calls have taught of the limit, and that it may rise now."""
    told: dict[Any, Any] = {"raise_at": clock.now_ms(valkey.client) - 1, **figures}
    valkey.client.hset(keys.limit(PROVIDER), mapping=told)


def refuse(house: House) -> None:
    house.jobs.call_over(over(house.claim(house.accept()), Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=1))


def used_up(valkey: Valkey, *, rpm: int, learned: int) -> House:
    """A limit that was learned, and is fully used by calls that were answered."""
    house = House(valkey, upstream={"rpm": rpm})
    learned_was(valkey, learned=learned, patience=15)
    for _ in range(learned):
        house.jobs.call_over(over(house.claim(house.accept())))
    return house


def test_each_refusal_is_counted(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 10})
    first, second = house.claim(house.accept()), house.claim(house.accept())
    for claim in (first, second):
        house.jobs.call_over(over(claim, Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=1))
    assert figure(valkey, "refused") == 2


def test_one_more_that_was_refused_is_tried_again_half_as_soon(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 10})
    learned_was(valkey, learned=5, patience=15, probing=1)
    refuse(house)
    assert figure(valkey, "patience") == 30
    assert figure(valkey, "probing") is None


def test_patience_has_an_end(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 10})
    learned_was(valkey, learned=5, patience=1440, probing=1)
    refuse(house)
    assert figure(valkey, "patience") == 1440


def test_a_learned_limit_ends_at_what_the_provider_says(valkey: Valkey) -> None:
    """Full use without a refusal has raised it to that: nothing is left to learn."""
    house = used_up(valkey, rpm=4, learned=3)
    learned_was(valkey)
    house.jobs.call_over(over(house.claim(house.accept())))
    assert [figure(valkey, name) for name in ("learned", "raise_at", "probing", "patience")] == [None] * 4
    assert house.take(house.accept()).claim is None


def test_what_a_refusal_has_shown_is_risen_above_by_one(valkey: Valkey) -> None:
    house = used_up(valkey, rpm=20, learned=8)
    learned_was(valkey)
    house.claim(house.accept())
    assert (figure(valkey, "learned"), figure(valkey, "probing")) == (9, 1)


def test_a_limit_does_not_rise_until_a_call_was_answered_after_a_refusal(valkey: Valkey) -> None:
    house = used_up(valkey, rpm=10, learned=3)
    learned_was(valkey, trial=1)
    assert house.take(house.accept()).claim is None
    assert (figure(valkey, "learned"), figure(valkey, "probing")) == (3, None)


def test_what_answers_take_is_met_at_once_and_left_slowly(valkey: Valkey) -> None:
    house = House(valkey, upstream={"tpm": 100_000})

    def answered(tokens: int) -> int | None:
        house.jobs.call_over(
            over(house.claim(house.accept(prompt_tokens=10)), tokens=tokens + 10, answer_tokens=tokens)
        )
        return figure(valkey, "output")

    assert answered(1000) == 1000
    shorter = answered(10)
    assert shorter is not None
    assert 900 <= shorter < 1000
    assert answered(2000) == 2000
