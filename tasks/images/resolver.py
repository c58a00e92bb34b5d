"""Names to addresses, within a given time. No /etc/hosts, no search domains: they name what is in the house."""

from __future__ import annotations

import time
from functools import cached_property

import dns.exception
import dns.nameserver
import dns.resolver

from tasks.domain.network import Address, parsed

DNS_PORT = 53


class Resolver:
    """Asks `nameserver` ("address" or "address:port"), or those of /etc/resolv.conf when it is empty."""

    def __init__(self, nameserver: str = "") -> None:
        self._nameserver = nameserver

    def addresses(self, name: str, *, within_s: float) -> list[Address]:
        """All addresses of `name`, those of IPv4 first; none when it has none or nobody tells."""
        ends_at = time.monotonic() + within_s
        return [found for kind in ("A", "AAAA") for found in self._records(name, kind, ends_at - time.monotonic())]

    def _records(self, name: str, kind: str, within_s: float) -> list[Address]:
        if within_s <= 0:
            return []
        try:
            # A dot at the end: the name is whole, nothing is to be put behind it.
            answer = self._resolver.resolve(f"{name}.", kind, lifetime=within_s, search=False)
        except (dns.exception.DNSException, OSError, ValueError):
            return []
        found = [parsed(record.to_text()) for record in answer]
        return [address for address in found if address is not None]

    @cached_property
    def _resolver(self) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver(configure=not self._nameserver)
        if self._nameserver:
            host, _, port = self._nameserver.rpartition(":") if ":" in self._nameserver else (self._nameserver, "", "")
            server = dns.nameserver.Do53Nameserver(host.strip("[]"), int(port or DNS_PORT))
            resolver.nameservers = [server]
        # A name is asked for at each fetch anew: an answer kept here would outlive its time.
        resolver.cache = None
        return resolver
