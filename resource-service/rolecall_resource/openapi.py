"""The OpenAPI 3.1 description of the Invoices API: operations, scopes, and the checks of access tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rolecall import checks
from rolecall.openapi import (
    HTML,
    IF_NONE_MATCH,
    JSON,
    NOT_MODIFIED,
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
from rolecall_resource.invoices import DEFAULT_LIMIT, MAX_LIMIT, MAX_PAGE, SCOPES
from rolecall_resource.protect import REALM
from rolecall_resource.routes import ROUTES
from rolecall_resource.settings import Settings
from rolecall_resource.validators import introspection, local_jwt

_TEXT: Final = (
    "The resource server of the role diagram (RFC 6749 section 1.1): invoices for clients with an access token "
    "(RFC 6750) from their owner. The endpoints of the authorization server are in its metadata (RFC 8414)."
)

SCOPE_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "invoices:read": "Read the owner's invoices.",
    "invoices:pay": "Pay the owner's invoices.",
    "profile": "Read the owner's name and email address.",
}

_TOKEN_CHECKS: Final = tuple(
    check
    for check in checks.defined_in(protect, validators, introspection, local_jwt)
    if check not in {protect.PRESENT, local_jwt.CACHED}
)
"""The checks with an error code. A request without a token gets no error code, and CACHED never rejects a token."""

_CHALLENGED: Final = ("WWW-Authenticate",)
_NOT_FOUND: Final = json_response("The owner has no resource with this ID.", error_body("not_found"), status=404)


def _count(description: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": description}


def _integer_parameter(name: str, default: int, maximum: int) -> Schema:
    return {
        "name": name,
        "in": "query",
        "description": f"none: from 1 to {maximum}, default {default}",
        "schema": {"type": "integer", "minimum": 1, "maximum": maximum, "default": default},
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
            "total": _count("The number of the owner's invoices on all pages."),
            "open": _count("The number of them that are not paid yet."),
            "page": {"type": "integer", "minimum": 1, "description": "The number of this page."},
            "pages": {"type": "integer", "minimum": 1},
            "next": {
                "type": ["string", "null"],
                "format": "uri-reference",
                "description": "The URL of the next page, null on the last one (RFC 3986 section 4.2).",
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
    """Return the description, without the table of routes."""
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
                "description": f"Issued by {settings.issuer}; its metadata contains the endpoints (RFC 8414).",
                "x-scopes": {scope: SCOPE_DESCRIPTIONS.get(scope, "") for scope in SCOPES},
            },
        },
    )


def _operations(settings: Settings) -> Operations:
    metadata = Operation(
        "Protected resource metadata",
        (
            json_response("Metadata (RFC 9728 section 2).", _metadata(settings), "ETag"),
            NOT_MODIFIED,
            json_response(
                "The path is not that of the resource identifier (RFC 9728 section 3.1).",
                error_body("invalid_request"),
                status=404,
            ),
        ),
        (IF_NONE_MATCH,),
    )
    return {
        ("home", "GET"): Operation(
            "The home page",
            (
                html(200, "The home page, for browsers."),
                json_response("Not found, for other clients.", error_body("not_found"), status=404),
            ),
        ),
        ("invoices", "GET"): _protected(
            "invoices",
            "List the owner's invoices",
            json_response("A page of invoices, newest first.", ref("Invoices")),
            parameters=(_integer_parameter("limit", DEFAULT_LIMIT, MAX_LIMIT), _integer_parameter("page", 1, MAX_PAGE)),
        ),
        ("invoice", "GET"): _protected(
            "invoice", "Get one of the owner's invoices", json_response("The invoice.", ref("Invoice")), _NOT_FOUND
        ),
        ("payment", "POST"): _protected(
            "payment",
            "Pay an invoice",
            json_response("The invoice has been paid.", ref("Payment"), status=201),
            _NOT_FOUND,
            json_response("The invoice is already paid.", error_body("conflict"), status=409),
        ),
        ("profile", "GET"): _protected(
            "profile",
            "Get the owner's name and email address",
            json_response("The profile.", ref("Profile")),
            _NOT_FOUND,
        ),
        ("metadata", "GET"): metadata,
        ("metadata-of-path", "GET"): metadata,
    }


def _protected(name: str, summary: str, *responses: ResponseObject, parameters: tuple[Schema, ...] = ()) -> Operation:
    return Operation(summary, (*responses, *_TOKEN_ERRORS), parameters, security=_security(name))


def _token_errors() -> tuple[ResponseObject, ...]:
    """Return the error responses to a bad token and, without an error code, to a missing one (RFC 6750 section 3.1)."""
    responses = []
    for response in error_responses(*_TOKEN_CHECKS, headers=dict.fromkeys((400, 401, 403), _CHALLENGED)):
        if response.status == 401:
            either = {"oneOf": [response.content[JSON], closed({})]}
            text = "The token is missing or invalid. If it is missing, there is no error code, and browsers get a page."
            content = {JSON: either, HTML: string()}
            responses.append(ResponseObject(401, text, content, _CHALLENGED, (protect.PRESENT, *response.checks)))
        else:
            responses.append(response)
    return (*responses, unavailable("api", authorization_server.ISSUER))


_TOKEN_ERRORS: Final = _token_errors()


def _security(name: str) -> Security:
    view: Callable[..., Any] = next(route.view for route in ROUTES if route.name == name)
    return ({"bearer": [str(view.scope)]},)  # type: ignore[attr-defined]  # set by `requires`


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
