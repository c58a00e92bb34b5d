"""A connection whose other side is gone without a word: who only listens on it has to ask."""

from __future__ import annotations

import pytest

from tasks.domain.redis_address import HEALTH_S
from tasks.store import connection, events
from tasks.store.events import Listener
from tests.support.polling import until
from tests.support.relay import Relay
from tests.support.valkey import Valkey

CHANNEL = "tandem:test"
#: Nobody is deaf for longer.
MOST_S = 15.0


def test_a_listener_notices_and_subscribes_anew(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.1)
    monkeypatch.setattr(events, "HEALTH_S", 0.3)
    monkeypatch.setattr(events, "DEAF_S", 0.6)
    heard: list[str] = []
    subscribed: list[bool] = []
    with Relay(valkey.port) as relay:
        listener = Listener(connection.connect(relay.url), CHANNEL, heard.append, lambda: subscribed.append(True))
        listener.start()
        until(lambda: valkey.client.publish(CHANNEL, "before"), within_s=10, what="the subscription")
        until(lambda: "before" in heard, within_s=10)
        relay.half_open()
        until(lambda: valkey.client.publish(CHANNEL, "after") and "after" in heard, within_s=20)
        assert len(subscribed) > 1, "whoever waits is told that words may have been missed"
        listener.stop()


def test_a_listener_that_hears_nothing_keeps_its_connection_while_there_are_answers(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.05)
    monkeypatch.setattr(events, "HEALTH_S", 0.1)
    monkeypatch.setattr(events, "DEAF_S", 5.0)
    subscribed: list[bool] = []
    listener = Listener(connection.connect(valkey.url), CHANNEL, lambda _: None, lambda: subscribed.append(True))
    pings = pinged(valkey)
    listener.start()
    until(lambda: pinged(valkey) >= pings + 5, within_s=20, what="its asking")
    listener.stop()
    assert len(subscribed) == 1


def pinged(valkey: Valkey) -> int:
    return int(valkey.client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"])


def test_the_times_fit_into_the_promise() -> None:
    assert events.DEAF_S + events.LOOK_S + events.RECONNECT_S + connection.TIMEOUT_S <= MOST_S
    # kombu looks every HEALTH_S whether an answer to a pop of a second is late by HEALTH_S.
    assert 1 + 2 * HEALTH_S + connection.TIMEOUT_S <= MOST_S
