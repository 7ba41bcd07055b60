"""What the Invoices API says of itself in OpenAPI 3.1: its scopes, and the checks that every token goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rolecall.checks import Check
from rolecall.openapi import (
    JSON,
    Description,
    Operation,
    Operations,
    ResponseObject,
    Schema,
    Security,
    closed,
    error_body,
    error_responses,
    html,
    json_response,
    ref,
    string,
    unavailable,
)
from rolecall.vocabulary import ACCESS_TOKEN_TYPE
from rolecall_resource import authorization_server, protect, validators
from rolecall_resource.invoices import LIMIT, MAX_LIMIT, MAX_PAGE, SCOPES
from rolecall_resource.protect import REALM
from rolecall_resource.routes import ROUTES
from rolecall_resource.settings import Settings
from rolecall_resource.validators import introspection, local_jwt

_TEXT: Final = (
    "The resource server of the role diagram (RFC 6749 section 1.1): invoices, for whoever shows an access token "
    "(RFC 6750) that their owner allowed. The addresses of the authorization server are in its metadata (RFC 8414)."
)

SENTENCES: Final[Mapping[str, str]] = {
    "invoices:read": "See the owner's invoices.",
    "invoices:pay": "Pay them.",
    "profile": "See the owner's name and address.",
}

_TOKEN: Final[tuple[Check, ...]] = (
    protect.ONE_HEADER,
    protect.WELL_FORMED,
    protect.VALIDATOR,
    protect.SCOPE,
    introspection.ACTIVE,
    local_jwt.FORM,
    local_jwt.TYPE,
    local_jwt.ALGORITHM,
    local_jwt.CRITICAL,
    local_jwt.KEY,
    local_jwt.SIGNATURE,
    validators.ISSUER,
    validators.AUDIENCE,
    validators.CLAIMS,
    validators.EXPIRY,
    validators.NOT_BEFORE,
    validators.ISSUED_AT,
)

_CHALLENGED: Final = ("WWW-Authenticate",)
_UNKNOWN: Final = json_response("There is nothing of this id that is the owner's.", error_body("not_found"), status=404)


def _count(description: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": description}


def _number(name: str, default: int, most: int) -> Schema:
    """A parameter of the query that is a number from 1 on."""
    return {
        "name": name,
        "in": "query",
        "description": f"none: from 1 to {most}, and {default} unless it is named",
        "schema": {"type": "integer", "minimum": 1, "maximum": most, "default": default},
    }


_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Invoice": closed(
        {
            **{name: string() for name in ("id", "number", "supplier", "description")},
            "amount_minor": {"type": "integer", "description": "In the currency's minor unit."},
            "currency": string(pattern="^[A-Z]{3}$", description="ISO 4217."),
            "issued_on": string(format="date"),
            "due_on": string(format="date"),
            "state": string(enum=["open", "paid"]),
            "paid_at": {"type": ["number", "null"], "description": "Seconds since the epoch."},
        }
    ),
    "Invoices": closed(
        {
            "invoices": {"type": "array", "items": ref("Invoice"), "maxItems": MAX_LIMIT},
            "total": _count("Of the owner's invoices, on all pages."),
            "open": _count("Of those, how many are to be paid."),
            "page": {"type": "integer", "minimum": 1, "description": "Which of the pages this is."},
            "pages": {"type": "integer", "minimum": 1},
            "next": {
                "type": ["string", "null"],
                "format": "uri-reference",
                "description": "The next page, as long as there is one (RFC 3986 section 4.2).",
            },
        }
    ),
    "Payment": closed(
        {
            "invoice_id": string(),
            "amount_minor": {"type": "integer"},
            "currency": string(),
            "paid_at": {"type": "number", "description": "Seconds since the epoch."},
        }
    ),
    "Profile": closed({"sub": string(), "name": string(), "email": {"type": ["string", "null"]}}),
}


def description(settings: Settings) -> Description:
    """Everything but the table of routes."""
    return Description(
        REALM,
        _TEXT,
        settings.public_url,
        _operations(settings),
        _SCHEMAS,
        {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": ACCESS_TOKEN_TYPE,
                "description": f"From {settings.issuer}, whose metadata say where to get one (RFC 8414).",
                "x-scopes": {scope: SENTENCES.get(scope, "") for scope in SCOPES},
            },
        },
    )


def _operations(settings: Settings) -> Operations:
    metadata = Operation(
        "What this API is, and whose tokens it takes",
        (
            json_response("Metadata (RFC 9728 section 2).", _metadata(settings)),
            json_response(
                "The metadata stand under the path of the identifier (RFC 9728 section 3.1).",
                error_body("invalid_request"),
                status=404,
            ),
        ),
    )
    return {
        ("home", "GET"): Operation(
            "The first page",
            (
                html(200, "The page, for browsers."),
                json_response("Nothing, for programs.", error_body("not_found"), status=404),
            ),
        ),
        ("invoices", "GET"): _protected(
            "invoices",
            "The owner's invoices, a page at a time",
            json_response("The newest first.", ref("Invoices")),
            parameters=(_number("limit", LIMIT, MAX_LIMIT), _number("page", 1, MAX_PAGE)),
        ),
        ("invoice", "GET"): _protected(
            "invoice", "One of the owner's invoices", json_response("It.", ref("Invoice")), _UNKNOWN
        ),
        ("payment", "POST"): _protected(
            "payment",
            "Pay an invoice",
            json_response("It is paid.", ref("Payment"), status=201),
            _UNKNOWN,
            json_response("It was paid before.", error_body("conflict"), status=409),
        ),
        ("profile", "GET"): _protected(
            "profile", "The owner's name and address", json_response("They.", ref("Profile")), _UNKNOWN
        ),
        ("metadata", "GET"): metadata,
        ("metadata-of-path", "GET"): metadata,
    }


def _protected(name: str, summary: str, *answers: ResponseObject, parameters: tuple[Schema, ...] = ()) -> Operation:
    return Operation(summary, (*answers, *_TOKEN_REFUSED), parameters, security=_security(name))


def _token_refused() -> tuple[ResponseObject, ...]:
    """Of a token; and of none at all, without an error code (RFC 6750 section 3.1)."""
    answers = []
    for answer in error_responses(*_TOKEN, headers=dict.fromkeys((400, 401, 403), _CHALLENGED)):
        if answer.status == 401:
            either = {"oneOf": [answer.content[JSON], closed({})]}
            text = "No token, or one that is not good. Without one there is no error code."
            answers.append(ResponseObject(401, text, {JSON: either}, _CHALLENGED, (protect.PRESENT, *answer.checks)))
        else:
            answers.append(answer)
    return (*answers, unavailable("api", authorization_server.ISSUER))


_TOKEN_REFUSED: Final = _token_refused()


def _security(name: str) -> Security:
    view: Callable[..., Any] = next(route.view for route in ROUTES if route.name == name)
    return ({"bearer": [str(view.scope)]},)  # type: ignore[attr-defined]  # that `requires` put there


def _metadata(settings: Settings) -> Schema:
    return closed(
        {
            "resource": {"const": settings.resource_identifier},
            "authorization_servers": {"const": [settings.issuer]},
            "scopes_supported": {"const": list(SCOPES)},
            "bearer_methods_supported": {"const": ["header"]},
            "resource_name": string(),
        }
    )
