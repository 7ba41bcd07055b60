"""Information about a request from trusted proxies: the client's address, the scheme, and the host (RFC 7239)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

UNKNOWN: Final = "unknown"
"""The address of a client whose address no proxy names (RFC 7239 section 6.2)."""

_MAX_NODE: Final = 256
"""Characters of an address; anything can be in the header of a proxy, and recent addresses are kept in memory."""

_OBFUSCATED: Final = re.compile(r"_[A-Za-z0-9._-]+")
_PORT: Final = re.compile(r"[0-9]{0,5}|_[A-Za-z0-9._-]+")


def behind_proxies(application: WSGIApplication, count: int) -> WSGIApplication:
    """Wrap an application that is behind `count` proxies; if there are none, the headers that proxies add are ignored.

    `REMOTE_ADDR` becomes an address without a port, as `client_address` returns it.
    """
    if count:
        return BehindProxies(application, count)

    def direct(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = client_address(environ.get("REMOTE_ADDR", ""))
        return application(environ, start_response)

    return direct


class BehindProxies(ProxyFix):
    """A WSGI application behind at least one proxy.

    Each proxy appends a value to a header, so that only the last `count` values can be trusted.
    """

    def __init__(self, application: WSGIApplication, count: int) -> None:
        super().__init__(application, x_for=count, x_proto=count, x_host=count)
        self._application = application
        self.app = self._normalized

    def _get_real_value(self, trusted: int, value: str | None) -> str | None:
        """Return the member that the outermost trusted proxy wrote; empty ones do not count (RFC 9110 section 5.6.1.2).

        Werkzeug's method parses quoted strings, so that a quotation mark from the client would hide the commas of the
        proxies behind it.
        """
        members = [member for part in (value or "").split(",") if (member := part.strip(' \t"'))]
        return members[-trusted] if 0 < trusted <= len(members) else None

    def _normalized(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = client_address(environ.get("REMOTE_ADDR", ""))
        scheme = environ["wsgi.url_scheme"].lower()
        is_known = scheme in {"http", "https"}
        environ["wsgi.url_scheme"] = scheme if is_known else environ["werkzeug.proxy_fix.orig"]["wsgi.url_scheme"]
        return self._application(environ, start_response)


def client_address(node: str) -> str:
    """Return the address of a node (RFC 7239 section 6) without quotation marks, brackets, or port.

    An IPv4-mapped address becomes an IPv4 address, and an obfuscated identifier remains unchanged.

    Returns:
        `UNKNOWN` for everything else, and for more than `_MAX_NODE` characters.
    """
    return _client_address(node) if len(node) <= _MAX_NODE else UNKNOWN


@lru_cache(maxsize=1024)
def _client_address(node: str) -> str:
    node = node.strip(' \t"')
    name, _, port = node.rpartition(":")
    for each in (node, name) if _PORT.fullmatch(port) else (node,):
        host = each[1:-1] if each.startswith("[") and each.endswith("]") else each
        if _OBFUSCATED.fullmatch(host):
            return host
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            continue
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return str(mapped or address)
    return UNKNOWN
