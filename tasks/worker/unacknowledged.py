"""kombu's Redis transport without acknowledgements: a message that was popped is gone.

kombu notes every message it pops in Redis and strikes it out when it is acknowledged: two round trips per message in
the one thread that pops, while calls wait for it. Here the record knows what becomes of a job, and one whose message
died with its worker is found as any lost message (docs/decisions/0001).

What is sent, and the bindings that a worker writes when it starts, may exceed Redis' maxmemory: what was accepted goes
on, and a worker that is started anew comes up.
"""

from __future__ import annotations

from functools import cached_property
from time import monotonic
from typing import Any

import kombu.transport
from kombu.transport import redis, virtual
from kombu.utils.json import dumps
from redis import Redis

from tasks import process
from tasks.room import SINGLE
from tasks.store import scripts

#: For how long a pop waits that does not look for shards. With kombu's second, workers stood idle between shards.
FULL_S = 0.05
#: Before a script: it is run although Redis is full.
MAY_EXCEED = "#!lua flags=allow-oom\n"


class QoS(virtual.QoS):
    """Remembers what was delivered in memory only, and puts nothing back."""

    restore_at_shutdown = False


class Unacknowledged(redis.Channel):
    """What is made otherwise in a channel."""

    QoS = QoS  # type: ignore[assignment]

    def _brpop_start(self, timeout: float | None = None) -> None:
        # kombu's, but for the order: which priorities to look for is decided at every pop.
        queues = self._queue_cycle.consume(len(self.active_queues))  # type: ignore[attr-defined]
        if not queues:
            return
        order = process.here().batch_room.order()
        keys = [self._q_for_pri(queue, one) for one in order for queue in queues]  # type: ignore[attr-defined]
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        # While there is no room for a shard, it looks again soon: there may be any moment.
        timeout = timeout or (FULL_S if order == SINGLE else self.brpop_timeout)
        self.client.connection.send_command("BRPOP", *keys, timeout)

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        line = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))  # type: ignore[attr-defined]
        with self.conn_or_acquire() as client:
            _run(client, "send", [line], 0, dumps(message))
            self._maybe_update_queues_expire(client, queue)  # type: ignore[attr-defined]

    @cached_property
    def _refresh_binding(self) -> Any:
        return self._create_client().register_script(MAY_EXCEED + redis.REFRESH_BINDING)  # type: ignore[attr-defined]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if queue in self._expires:  # type: ignore[attr-defined]
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]
            return
        if self.typeof(exchange).type == "fanout":
            self._fanout_queues[queue] = (exchange, routing_key.replace("#", "*"))  # type: ignore[attr-defined]
        prefixes = (self.keyprefix_queue, self.keyprefix_binding_permanent)  # type: ignore[attr-defined]
        binding = self.sep.join([routing_key or "", pattern or "", queue or ""])
        with self.conn_or_acquire() as client:
            _run(client, "bind", [prefix % (exchange,) for prefix in prefixes], binding)


def _run(client: Redis, script: str, keys: list[str], *args: Any) -> None:
    # With Redis' own errors: kombu knows by them what it is to try again.
    client.register_script(scripts.source(script))(keys=keys, args=args)


class Channel(Unacknowledged):
    """Redis' channel with that."""


class SentinelChannel(Unacknowledged, redis.SentinelChannel):
    """The same where sentinels say which server it is."""


class Transport(redis.Transport):
    """Redis' transport with that. For consuming; who publishes has nothing to acknowledge."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """The same where sentinels say which server it is."""

    Channel = SentinelChannel


def install() -> None:
    """Let this process' connections to Redis be of these kinds.

    By kombu's table of names: what is set for an app is forgotten when kombu goes on to the next of several sentinels,
    and where the URL is a socket's.
    """
    for name, kind in (("redis", Transport), ("rediss", Transport), ("sentinel", SentinelTransport)):
        kombu.transport.TRANSPORT_ALIASES[name] = f"{__name__}:{kind.__name__}"
        kombu.transport._transport_cache.pop(name, None)  # type: ignore[attr-defined]
