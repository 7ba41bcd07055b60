"""The URLs of the client."""

from __future__ import annotations

from typing import Final

from rolecall import openapi
from rolecall.web.routes import Route
from rolecall_client.pages import (
    callback,
    connect,
    connect_and_sign_in,
    disconnect,
    home,
    invoices,
    posted_callback,
    refresh,
    revoke,
)
from rolecall_client.profile import me, sign_in, sign_out

_POST: Final = ("POST",)
_GET: Final = ("GET",)

ROUTES: Final = (
    Route("home", "/", _GET, home, "page", "RFC 6749 section 1.2: the role diagram"),
    Route("connect", "/connect", _POST, connect, "page", "RFC 6749 section 4.1.1"),
    Route(
        "connect-and-sign-in",
        "/connect-and-sign-in",
        _POST,
        connect_and_sign_in,
        "page",
        "OpenID Connect Core sections 3.1.2.1 and 11",
    ),
    Route("callback", "/callback", _GET, callback, "page", "RFC 6749 section 4.1.2, RFC 9207", safe=False),
    Route(
        "callback-form",
        "/callback",
        _POST,
        posted_callback,
        "page",
        "OAuth 2.0 Form Post Response Mode section 2",
        # the authorization server sends it; `state` binds it to a request of this client
        csrf=False,
        cross_site=True,
    ),
    Route("sign-in", "/sign-in", _POST, sign_in, "page", "OpenID Connect Core section 3.1.2.1"),
    Route("me", "/me", _GET, me, "page", "OpenID Connect Core sections 2 and 5.3"),
    Route("sign-out", "/sign-out", _POST, sign_out, "page", "none: a local sign-out"),
    Route("invoices", "/invoices", _GET, invoices, "page", "RFC 6750 section 2.1"),
    Route("refresh", "/refresh", _POST, refresh, "page", "RFC 6749 section 6"),
    Route("revoke", "/revoke", _POST, revoke, "page", "RFC 7009"),
    Route("disconnect", "/disconnect", _POST, disconnect, "page", "RFC 7009"),
    openapi.ROUTE,
)
