"""The OpenAPI 3.1 description of Tally: its pages, and the redirection endpoint (RFC 6749 section 4.1.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall import checks
from rolecall.checks import Check
from rolecall.limits import too_many, with_limits
from rolecall.openapi import (
    Description,
    Operation,
    Operations,
    ResponseObject,
    Schema,
    Security,
    html,
    redirect,
    string,
    unavailable,
)
from rolecall_client import flow, id_token, limits
from rolecall_client.flows import authorization_code, refresh_token, sign_in
from rolecall_client.issuer import ISSUER
from rolecall_client.settings import Settings

_TEXT: Final = "The client of the role diagram (RFC 6749 section 1.1): pages for users, no API."

_PARAMETERS: Final[Mapping[str, str]] = {
    "code": "RFC 6749 section 4.1.2",
    "state": "RFC 6749 section 4.1.2",
    "iss": "RFC 9207 section 2",
    "error": "RFC 6749 section 4.1.2.1",
    "error_description": "RFC 6749 section 4.1.2.1",
    "response_mode": "none: the response was sent as a form, and is stored under its state",
}
"""The parameters of an authorization response."""

_PAGE: Final[Schema] = {"type": "integer", "minimum": 1, "default": 1, "description": "The page of invoices."}
_NOT_CONNECTED: Final = html(403, "The browser is not connected, or the connection has ended.")
_SESSION: Final[Security] = ({"session": []}, {})
_FLOW_REFUSED: Final = (too_many("page", limits.FLOW_BYTES), with_limits(unavailable("page"), limits.ANONYMOUS_BYTES))


def description(settings: Settings, cookie: str) -> Description:
    """Return the description, without the table of routes; `cookie` is the name of the session cookie."""
    session: Schema = {"type": "apiKey", "in": "cookie", "name": cookie}
    return Description("Tally", _TEXT, settings.public_url, _OPERATIONS, {}, {"session": session})


def _button(summary: str, *responses: ResponseObject, further: tuple[Check, ...] = (), **fields: Schema) -> Operation:
    """Describe the target of a form on one of the pages.

    Args:
        further: checks that reject responses of other servers, in addition to that of the issuer.
    """
    bad_gateway = html(502, "Another server returned an invalid response.", checks=(ISSUER, *further))
    return Operation(summary, (*responses, bad_gateway), form=_form(**fields), security=_SESSION)


def _form(**fields: Schema) -> Schema:
    with_token = {**fields, "csrf_token": string(description="The CSRF token from the page.")}
    return {"type": "object", "properties": with_token, "required": ["csrf_token"]}


_OPERATIONS: Final[Operations] = {
    ("home", "GET"): Operation("The home page", (html(200, "The page."), unavailable("page")), security=_SESSION),
    ("connect", "POST"): _button(
        "Start the authorization code flow",
        redirect("To the authorization server."),
        html(400, "The CSRF token is invalid."),
        *_FLOW_REFUSED,
    ),
    ("connect-and-sign-in", "POST"): _button(
        "Start the flow that connects and signs in",
        redirect("To the authorization server."),
        html(400, "The CSRF token is invalid."),
        *_FLOW_REFUSED,
    ),
    ("callback-form", "POST"): Operation(
        "Receive the authorization response as a form",
        (
            redirect("To the same URL, with GET."),
            html(
                400,
                "No flow waits for the response, a parameter is repeated, or the response is too long.",
                checks=(authorization_code.STATE,),
            ),
            *_FLOW_REFUSED,
        ),
        form={
            "type": "object",
            "properties": {name: string(description=clause) for name, clause in _PARAMETERS.items()},
            "required": ["state"],
        },
    ),
    ("sign-in", "POST"): _button(
        "Start a sign-in",
        redirect("To the authorization server."),
        html(400, "The CSRF token is invalid."),
        *_FLOW_REFUSED,
        again=string(enum=list(sign_in.AGAIN), description="Whether to authenticate again, and how."),
    ),
    ("me", "GET"): Operation(
        "The signed-in user",
        (html(200, "The page."), html(403, "The user is not signed in."), unavailable("page")),
        security=_SESSION,
    ),
    ("sign-out", "POST"): Operation(
        "Sign out",
        (redirect("To the home page."), html(400, "The CSRF token is invalid."), unavailable("page")),
        form=_form(),
        security=_SESSION,
    ),
    ("callback", "GET"): Operation(
        "Receive the authorization response",
        (
            redirect("To the invoices after connecting, to /me after signing in."),
            html(
                400,
                "The response does not match a request from this browser, comes from another server, has a repeated "
                "parameter, or an invalid code, or the client has registered again since the request.",
                checks=checks.defined_in(authorization_code),
            ),
            html(403, "The user denied access, or would have to sign in or consent.", checks=(sign_in.PERSON,)),
            html(
                502,
                "Another server returned an invalid response, or the ID token is invalid.",
                checks=(ISSUER, *checks.defined_in(flow), *checks.defined_in(id_token), sign_in.SUBJECT),
            ),
            too_many("page", limits.SESSION),
            unavailable("page"),
        ),
        tuple(
            {"name": name, "in": "query", "schema": string(description=clause)} for name, clause in _PARAMETERS.items()
        ),
        security=_SESSION,
    ),
    ("invoices", "GET"): Operation(
        "Request the invoices from the API",
        (html(200, "The page."), _NOT_CONNECTED, html(502, "The API rejected the request."), unavailable("page")),
        ({"name": "page", "in": "query", "schema": _PAGE},),
        security=_SESSION,
    ),
    ("refresh", "POST"): _button(
        "Refresh the tokens",
        redirect("To the invoices."),
        html(400, "The CSRF token or the refresh token is invalid, or the client has registered again."),
        _NOT_CONNECTED,
        unavailable("page"),
        further=(*checks.defined_in(flow), *checks.defined_in(id_token), refresh_token.SAME_SIGN_IN),
    ),
    ("revoke", "POST"): _button(
        "Revoke the access token",
        redirect("To the invoices."),
        html(400, "The CSRF token is invalid, or the client has registered again."),
        _NOT_CONNECTED,
        unavailable("page"),
    ),
    ("disconnect", "POST"): _button(
        "Disconnect: revoke all tokens",
        redirect("To the home page."),
        html(400, "The CSRF token is invalid."),
        unavailable("page"),
    ),
}
