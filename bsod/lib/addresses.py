"""Addresses no provider is served from: link-local ones hold the metadata of clouds.

Checked where a base URL is written down, and again where it leads to when a connection is made: a
name may lead elsewhere by then.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA = {ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200")}
_NAMES = {"metadata", "metadata.google.internal"}


def literal(host: str) -> Address | None:
    """The address a host spells, also as one number, in octal or in hexadecimal: as a resolver
    reads it. None: it is a name."""
    try:
        return ipaddress.ip_address(socket.inet_aton(host))
    except OSError:
        pass
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    # An IPv4 address may wear an IPv6 one's clothes.
    return getattr(address, "ipv4_mapped", None) or address


def forbidden(host: str) -> bool:
    """Whether a host, a name or an address, is one that no request may go to."""
    address = literal(host)
    if address is None:
        return host.lower().rstrip(".") in _NAMES
    return address.is_link_local or address in _METADATA


def resolve(host: str, port: int) -> list[str]:
    """The addresses a host has today. OSError: none, or one that is forbidden."""
    return checked(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def checked(found: Iterable[Any]) -> list[str]:
    """The addresses in an answer of `getaddrinfo`. OSError where one of them is forbidden."""
    hosts = list(dict.fromkeys(str(info[4][0]) for info in found))
    if any(forbidden(host) for host in hosts):
        raise OSError("the name leads to a link-local or metadata address")
    return hosts
