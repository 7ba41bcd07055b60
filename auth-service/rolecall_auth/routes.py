"""The URLs of the authorization server."""

from __future__ import annotations

from typing import Final

from rolecall import openapi
from rolecall.vocabulary import METADATA_PATH, OPENID_CONFIGURATION_PATH
from rolecall.web.routes import Route
from rolecall_auth.endpoints.authorize import authorize
from rolecall_auth.endpoints.introspect import introspect
from rolecall_auth.endpoints.jwks import jwks
from rolecall_auth.endpoints.logo import logo
from rolecall_auth.endpoints.metadata import metadata, openid_configuration
from rolecall_auth.endpoints.register import register, registration
from rolecall_auth.endpoints.revoke import revoke
from rolecall_auth.endpoints.token import token
from rolecall_auth.endpoints.userinfo import userinfo
from rolecall_auth.pages.apps import apps, disconnect
from rolecall_auth.pages.consent import consent
from rolecall_auth.pages.home import home
from rolecall_auth.pages.sign_in import sign_in
from rolecall_auth.pages.sign_out import sign_out
from rolecall_auth.pages.sign_up import sign_up

_POST: Final = ("POST",)
_GET: Final = ("GET",)
_FORM: Final = ("GET", "POST")

ROUTES: Final = (
    Route("home", "/", _GET, home, "page", "none: the home page"),
    Route(
        "authorize",
        "/authorize",
        _FORM,
        authorize,
        "page",
        "RFC 6749 section 3.1",
        "authorization_endpoint",
        csrf=False,
        cross_site=True,
        in_popups=True,
        safe=False,
    ),
    Route("sign-in", "/sign-in", _FORM, sign_in, "page", "RFC 6749 section 3.1", csrf=False, in_popups=True),
    Route("sign-up", "/sign-up", _FORM, sign_up, "page", "none: creates an account", in_popups=True),
    # a GET records what the page shows
    Route("consent", "/consent", _FORM, consent, "page", "RFC 6749 section 4.1.1", in_popups=True, safe=False),
    Route("apps", "/apps", _GET, apps, "page", "none: lists connected apps"),
    Route("disconnect", "/apps/disconnect", _POST, disconnect, "page", "none: disconnects an app"),
    Route("sign-out", "/sign-out", _FORM, sign_out, "page", "none: ends the session"),
    Route("token", "/token", _POST, token, "api", "RFC 6749 section 3.2", "token_endpoint", cors="any"),
    Route("introspect", "/introspect", _POST, introspect, "api", "RFC 7662 section 2", "introspection_endpoint"),
    Route("revoke", "/revoke", _POST, revoke, "api", "RFC 7009 section 2", "revocation_endpoint", cors="any"),
    Route(
        "userinfo",
        "/userinfo",
        _FORM,
        userinfo,
        "api",
        "OpenID Connect Core section 5.3",
        "userinfo_endpoint",
        cors="any",
    ),
    Route(
        "register",
        "/register",
        _POST,
        register,
        "api",
        "RFC 7591 section 3",
        "registration_endpoint",
        cors="registration_origins",
    ),
    Route(
        "registration",
        "/register/<client_id>",
        ("GET", "PUT", "DELETE"),
        registration,
        "api",
        "RFC 7592 sections 2.1, 2.2 and 2.3",
        cors="registration_origins",
    ),
    Route("logo", "/logos/<client_id>", _GET, logo, "api", "RFC 7591 section 2"),
    Route("jwks", "/jwks", _GET, jwks, "api", "RFC 7517 section 5", "jwks_uri", cors="any"),
    Route("metadata", METADATA_PATH, _GET, metadata, "api", "RFC 8414 section 3", cors="any"),
    Route(
        "openid-configuration",
        OPENID_CONFIGURATION_PATH,
        _GET,
        openid_configuration,
        "api",
        "OpenID Connect Discovery section 4",
        cors="any",
    ),
    openapi.ROUTE,
)
