"""kombu's Redis transport without acknowledgements: a message that was popped is gone.

kombu notes every message it pops in Redis and strikes it out when it is acknowledged: two round trips per message in
the one thread that pops, while calls wait for it. Here the record knows what becomes of a job, and one whose message
died with its worker is found as any lost message (docs/decisions/0001).
"""

from __future__ import annotations

from kombu.transport import redis, virtual


class QoS(virtual.QoS):
    """Remembers what was delivered in memory only, and puts nothing back."""

    restore_at_shutdown = False


class Channel(redis.Channel):
    """Redis' channel with that."""

    QoS = QoS  # type: ignore[assignment]


class Transport(redis.Transport):
    """Redis' transport with that. For consuming; who publishes has nothing to acknowledge."""

    Channel = Channel


NAME = f"{__name__}:{Transport.__name__}"
