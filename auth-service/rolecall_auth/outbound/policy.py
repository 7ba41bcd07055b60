"""The URLs and IP addresses that may be fetched on behalf of a client (RFC 9101 section 10.4.1)."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final
from urllib.parse import SplitResult, urlsplit

from rolecall.settings import is_container, is_loopback

_URL: Final = re.compile(r"[!-\[\]-~]{1,2000}")

_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's platform services, although the network is public
            "192.0.0.0/24",  # protocol assignments, and Oracle's instance metadata
            "192.88.99.0/24",  # 6to4 relays, which can lead anywhere
            "2001::/23",  # protocol assignments, including Teredo
            "2002::/16",  # 6to4 embeds an IPv4 address
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""The public IPv6 addresses. All others are local or embed an IPv4 address, as NAT64 does (64:ff9b::/96)."""

_METADATA: Final = ipaddress.ip_network("fd00:ec2::/32")
"""The network of Amazon's instance metadata, in a range that otherwise holds private networks."""


class FetchError(Exception):
    """The fetch produced no usable content; the text gives the reason, for logs."""


def is_secure(url: str, *, lab: bool) -> bool:
    """Return whether a URL uses https; the lab also allows http on loopback or to a container by its name.

    Raises:
        ValueError: `url` is not a URL.
    """
    scheme = urlsplit(url).scheme
    return scheme == "https" or (scheme == "http" and lab and (is_loopback(url) or is_container(url)))


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is on the public Internet rather than a local network (RFC 6890, RFC 6052)."""
    if any(address in network for network in _NOT_PUBLIC):
        return False
    if address.version == 6:
        return address in _GLOBAL_UNICAST and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved


def parse_url(url: str, *, lab: bool) -> SplitResult:
    """Split a URL that may be fetched.

    Raises:
        FetchError: the URL is malformed, lacks a host, names a user, or is not secure (see `is_secure`).
    """
    if not _URL.fullmatch(url):
        raise FetchError("not a URL")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise FetchError("not a URL") from error
    if not parts.hostname or "@" in parts.netloc:
        raise FetchError("the URL has no host, or contains a user name")
    if not is_secure(url, lab=lab):
        raise FetchError("not https")
    return parts


def resolve(host: str, port: int, *, lab: bool) -> list[str]:
    """Return all addresses of a host, in the resolver's order.

    Raises:
        FetchError: at least one of the addresses is not allowed.
        OSError: the name cannot be resolved.
    """
    addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in addresses:
        if not (is_public(address := ipaddress.ip_address(text)) or (lab and _is_local(address))):
            raise FetchError("the host has an address that is not public")
    return addresses


def _is_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is on this machine or a private network, and is not a cloud's metadata service."""
    if isinstance(address, ipaddress.IPv6Address):
        # before Python 3.13, is_private does not look at the embedded IPv4 address
        address = address.ipv4_mapped or address
    return address.is_private and not address.is_link_local and address not in _METADATA
