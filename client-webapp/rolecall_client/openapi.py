"""What Tally says of itself in OpenAPI 3.1: pages, and the address at which answers arrive (RFC 6749 section 4.1.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
from rolecall_client import id_token
from rolecall_client.flows import authorization_code, sign_in
from rolecall_client.issuer import ISSUER
from rolecall_client.pages import WAYS
from rolecall_client.settings import Settings

_TEXT: Final = "The client of the role diagram (RFC 6749 section 1.1): pages for people, nothing for programs."

_ANSWER: Final[Mapping[str, str]] = {
    "code": "RFC 6749 section 4.1.2",
    "state": "RFC 6749 section 4.1.2",
    "iss": "RFC 9207 section 2",
    "error": "RFC 6749 section 4.1.2.1",
    "error_description": "RFC 6749 section 4.1.2.1",
    "response_mode": "none: says that the answer came as a form, and waits under its state",
}
"""What the authorization server sends along."""

_CHECK: Final = string(enum=list(WAYS), description="How the API shall check the token; only in the lab.")
_PAGE: Final[Schema] = {"type": "integer", "minimum": 1, "default": 1, "description": "Of the invoices."}
_REFUSED: Final = html(502, "A server answered what it should not have.", checks=(ISSUER,))
_NOT_CONNECTED: Final = html(403, "The browser has no connection, or lost it.")
_SESSION: Final[Security] = ({"session": []}, {})


def description(settings: Settings, cookie: str) -> Description:
    """Everything but the table of routes; `cookie` names a browser's session."""
    session: Schema = {"type": "apiKey", "in": "cookie", "name": cookie}
    return Description("Tally", _TEXT, settings.public_url, _OPERATIONS, {}, {"session": session})


def _button(summary: str, *answers: ResponseObject, **fields: Schema) -> Operation:
    """A form of one of the pages."""
    return Operation(summary, (*answers, _REFUSED, unavailable("page")), form=_form(**fields), security=_SESSION)


def _form(**fields: Schema) -> Schema:
    with_token = {**fields, "csrf_token": string(description="As it stands in the page.")}
    return {"type": "object", "properties": with_token, "required": ["csrf_token"]}


_OPERATIONS: Final[Operations] = {
    ("home", "GET"): Operation("The first page", (html(200, "The page."), unavailable("page")), security=_SESSION),
    ("connect", "POST"): _button(
        "Begin the flow",
        redirect("To the authorization server."),
        html(400, "The form is too old."),
    ),
    ("callback-form", "POST"): Operation(
        "The authorization server's answer, as a form",
        (
            redirect("To itself, by GET."),
            html(400, "The answer belongs to no request, or a parameter is repeated."),
            unavailable("page"),
        ),
        form={
            "type": "object",
            "properties": {name: string(description=clause) for name, clause in _ANSWER.items()},
            "required": ["state"],
        },
    ),
    ("sign-in", "POST"): _button(
        "Begin a sign-in",
        redirect("To the authorization server."),
        html(400, "The form is too old."),
        again=string(enum=list(sign_in.AGAIN), description="How: anew, not older than a minute, or without a page."),
    ),
    ("me", "GET"): Operation(
        "Who is signed in, and how Tally knows",
        (html(200, "The page."), html(403, "Nobody is signed in."), unavailable("page")),
        security=_SESSION,
    ),
    ("sign-out", "POST"): Operation(
        "Forget who is signed in",
        (redirect("To the first page."), html(400, "The form is too old."), unavailable("page")),
        form=_form(),
        security=_SESSION,
    ),
    ("callback", "GET"): Operation(
        "The authorization server's answer",
        (
            redirect("Connected: to the invoices. Signed in: to who it is."),
            html(
                400,
                "The answer belongs to no request of this browser, is another server's, says something twice, or its "
                "code is not good.",
                checks=(authorization_code.STATE, authorization_code.ISS),
            ),
            html(403, "The person denied it, or would have to be asked."),
            html(
                502,
                "A server answered what it should not have; an ID token breaks a rule.",
                checks=(ISSUER, *id_token.CHECKS, sign_in.SUBJECT),
            ),
            unavailable("page"),
        ),
        tuple({"name": name, "in": "query", "schema": string(description=clause)} for name, clause in _ANSWER.items()),
        security=_SESSION,
    ),
    ("invoices", "GET"): Operation(
        "The invoices, as the API answers",
        (html(200, "The page."), _NOT_CONNECTED, html(502, "The API refused."), unavailable("page")),
        ({"name": "check", "in": "query", "schema": _CHECK}, {"name": "page", "in": "query", "schema": _PAGE}),
        security=_SESSION,
    ),
    ("refresh", "POST"): _button(
        "Get a new access token",
        redirect("To the invoices."),
        html(400, "The form is too old, or the permission is no longer good."),
        _NOT_CONNECTED,
        check=_CHECK,
    ),
    ("revoke", "POST"): _button(
        "End the access token",
        redirect("To the invoices."),
        html(400, "The form is too old."),
        _NOT_CONNECTED,
    ),
    ("disconnect", "POST"): _button(
        "End everything that was given",
        redirect("To the first page."),
        html(400, "The form is too old."),
    ),
}
