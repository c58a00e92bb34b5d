"""Which addresses may be connected to that others name: those of the public internet, and what the operator allows."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Not global by the registries, or global and still nobody's web server. Python's own lists grow from version to
#: version, so what matters is listed here as well.
NEVER: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's host, which answers its guests with their secrets, has a public address
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",  # Teredo and 6to4 would lead to an IPv4 address
    )
)  # fmt: skip
#: All of IPv6 that is handed out as public; whatever a stack gives another meaning lies outside.
UNICAST6 = IPv6Network("2000::/3")
#: NAT64: in a network of IPv6 alone every IPv4 host is reached so.
NAT64 = IPv6Network("64:ff9b::/96")


def parsed(text: str) -> Address | None:
    """The address that `text` is; None when it is a name. Only the canonical forms of IPv4 are addresses."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_allowed(address: Address, besides: Sequence[Network] = ()) -> bool:
    """Whether a fetch may connect to `address`. `besides` are networks that an operator has opened."""
    address = _meant(address)
    if any(address in network for network in besides if network.version == address.version):
        return True
    if any(address in network for network in NEVER if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and (address.version == 4 or address in UNICAST6)


def _meant(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that means it."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
