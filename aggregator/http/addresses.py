"""Where a host's name leads, and whether the address is in the open Internet.

Source: the IANA special-purpose address registries; RFC 6052 (64:ff9b::/96), RFC 3056 (2002::/16), RFC 2765
(::ffff:0:0:0/96), RFC 4291 section 2.5.5 (::/96 and ::ffff:0:0/96), RFC 5214 section 6.1 (ISATAP).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_LAST_32_BITS = tuple(
    ipaddress.IPv6Network(net) for net in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
"""IPv6 networks whose addresses end in the IPv4 address that they lead to."""
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The 32 bits before the IPv4 address at the end of an ISATAP address, which leads through a tunnel within a site."""
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(ipaddress.IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "3fff::/20"))
"""Protocol assignments (Teredo among them) and documentation: not global, whatever this version of Python knows."""
_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 serves the secrets of Oracle's machines
        "192.88.99.0/24",  # relays of 6to4, which is given up
        "168.63.129.16/32",  # serves the settings of Azure's machines
        "100.64.0.0/10",  # shared by a provider's customers; 100.100.100.200 serves settings of Alibaba's machines
        "198.18.0.0/15",  # benchmarks
        "240.0.0.0/4",  # reserved, broadcast
    )
)


class Address(NamedTuple):
    """One address of a host."""

    family: int
    sockaddr: tuple[Any, ...]
    public: bool
    """False for private networks, this machine, link-local addresses and the like."""


Resolve = Callable[[str, int], Sequence[Address]]


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, as the system resolves them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Address(family, sockaddr, is_public(str(sockaddr[0]))) for family, _, _, _, sockaddr in found]


def is_public(address: str) -> bool:
    """True for an address anybody in the Internet could reach, directly or through a translator to IPv4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _inner(ip)
        if inner is None:
            return ip in _GLOBAL_UNICAST and ip.is_global and not any(ip in network for network in _SPECIAL_V6)
        ip = inner
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _SPECIAL_V4)


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to; None when it leads to none."""
    if any(ip in network for network in _LAST_32_BITS) or int(ip) >> 32 & 0xFFFFFFFF in _ISATAP:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip in _SIX_TO_FOUR:
        return ipaddress.IPv4Address(int(ip) >> 80 & 0xFFFFFFFF)
    return None


def names_a_private_place(host: str) -> bool:
    """True for a host that is private whoever resolves it: a private address in any spelling, or `localhost`.

    A proxy resolves names itself, so no more than this can be known of where a name leads.
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        # also 127.1, 0x7f000001 and 2130706433, which resolvers take for addresses
        return not is_public(socket.inet_ntoa(socket.inet_aton(name)) if ":" not in name else name)
    except (OSError, ValueError):
        return False
