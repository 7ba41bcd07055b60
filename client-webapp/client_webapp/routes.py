"""Every URL of the client."""

from __future__ import annotations

from typing import Final

from client_webapp.pages import callback, connect, disconnect, home, invoices, refresh, revoke
from rolecall import openapi
from rolecall.web import Route

_POST: Final = ("POST",)
_GET: Final = ("GET",)

ROUTES: Final = (
    Route("home", "/", _GET, home, "page", "RFC 6749 section 1.2: the role diagram"),
    Route("connect", "/connect", _POST, connect, "page", "RFC 6749 section 4.1.1"),
    Route("callback", "/callback", _GET, callback, "page", "RFC 6749 section 4.1.2, RFC 9207"),
    Route("invoices", "/invoices", _GET, invoices, "page", "RFC 6750 section 2.1"),
    Route("refresh", "/refresh", _POST, refresh, "page", "RFC 6749 section 6"),
    Route("revoke", "/revoke", _POST, revoke, "page", "RFC 7009"),
    Route("disconnect", "/disconnect", _POST, disconnect, "page", "RFC 7009"),
    openapi.ROUTE,
)
