"""Where a host's name leads, and whether that is in the open Internet.

Source: the IANA special-purpose address registries; RFC 6052 (64:ff9b::/96), RFC 3056 (2002::/16), RFC 2765
(::ffff:0:0:0/96), RFC 4291 section 2.5.5 (::/96 and ::ffff:0:0/96).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_LAST_32_BITS = tuple(
    ipaddress.IPv6Network(net) for net in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
"""Networks whose addresses end in one of IPv4, which is where they lead to."""
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_LOCAL = tuple(ipaddress.IPv6Network(net) for net in ("64:ff9b:1::/48", "fec0::/10"))
"""Local networks that Python takes for global ones."""


class Address(NamedTuple):
    """One place a host's name stands for."""

    family: int
    sockaddr: tuple[Any, ...]
    public: bool
    """False for private networks, this machine, link-local addresses and the like."""


Resolve = Callable[[str, int], Sequence[Address]]


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, as the system has them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Address(family, sockaddr, is_public(str(sockaddr[0]))) for family, _, _, _, sockaddr in found]


def is_public(address: str) -> bool:
    """True for an address anybody in the Internet could reach, directly or through a translator to IPv4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _LOCAL):
            return False
        ip = _inner(ip) or ip
    return bool(ip.is_global and not ip.is_multicast)


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the address of IPv4 that one of IPv6 stands for."""
    if any(ip in network for network in _LAST_32_BITS):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip in _SIX_TO_FOUR:
        return ipaddress.IPv4Address(int(ip) >> 80 & 0xFFFFFFFF)
    return None
