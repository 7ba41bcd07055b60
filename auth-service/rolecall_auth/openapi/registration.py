"""The dynamic registration part of the description, derived from the table of client metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall import checks
from rolecall.limits import too_many
from rolecall.openapi import (
    Operation,
    Operations,
    ResponseObject,
    Schema,
    Security,
    closed,
    error_body,
    error_responses,
    json_response,
    string,
    unavailable,
)
from rolecall_auth.clients import metadata
from rolecall_auth.clients.metadata import MEMBERS, Member
from rolecall_auth.endpoints import register
from rolecall_auth.limits import CLIENT_ADDRESS, REGISTRATION

_METADATA_CHECKS: Final = (register.JSON, *checks.defined_in(metadata))

SECURITY_SCHEMES: Final = {
    "initial_access_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "From `flask registration-token`; required unless REGISTRATION is open (RFC 7591 section 3).",
    },
    "registration_access_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "Issued to the client at registration (RFC 7592 section 3).",
    },
}
_INITIAL: Final[Security] = ({"initial_access_token": []}, {})
_OWN: Final[Security] = ({"registration_access_token": []},)

_SCHEMA_BY_KIND: Final[Mapping[str, Schema]] = {
    "number": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "keys": {"type": "object", "properties": {"keys": {"type": "array", "items": {"type": "object"}}}},
}


def _member_schema(member: Member) -> Schema:
    description = (
        f"{member.extension} An extension of this server ({member.clause})." if member.extension else member.clause
    )
    if member.kind in _SCHEMA_BY_KIND:
        return {**_SCHEMA_BY_KIND[member.kind], "description": description}
    text = string(maxLength=member.max_length, **({"enum": list(member.choices)} if member.choices else {}))
    if member.kind in {"texts", "uris"}:
        return {"type": "array", "items": text, "maxItems": member.max_items, "description": description}
    return {**text, "description": description}


_METADATA: Final[Mapping[str, Schema]] = {member.name: _member_schema(member) for member in MEMBERS}
_ALWAYS_PRESENT: Final = frozenset(
    {"redirect_uris", "client_name", "scope"}
    | {member.name for member in MEMBERS if member.default is not None and not member.extension}
)

_INFORMATION: Final[Mapping[str, Schema]] = {
    **_METADATA,
    "client_id": string(),
    "client_id_issued_at": {"type": "integer", "description": "Seconds since the epoch."},
    "registration_client_uri": string(format="uri"),
    "registration_access_token": string(),
}
_OPTIONAL: Final = [name for name in _METADATA if name not in _ALWAYS_PRESENT]

_REQUEST: Final[Schema] = {"type": "object", "properties": _METADATA}

_CHALLENGE: Final = {401: ("WWW-Authenticate",)}
_TOO_MANY_FAILURES: Final = too_many("api", CLIENT_ADDRESS)
_NOT_OWN: Final = (
    *error_responses(register.ORIGIN, register.ONE_TOKEN, register.OWN, headers=_CHALLENGE),
    _TOO_MANY_FAILURES,
)

_REGISTERED: Final[Schema] = closed(
    {
        **_INFORMATION,
        "client_secret": string(description="For authentication methods that use a secret."),
        "client_secret_expires_at": {"const": 0, "description": "The secret does not expire."},
    },
    optional=[*_OPTIONAL, "client_secret", "client_secret_expires_at"],
)
_CURRENT: Final = json_response("The current registration.", closed(_INFORMATION, optional=_OPTIONAL))

_REPLACEMENT: Final[Schema] = {
    **_REQUEST,
    "properties": {**_METADATA, "client_id": string(), "client_secret": string()},
    "required": ["client_id"],
}

_IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")


def registration_operations() -> Operations:
    """Return the operations of registration, its management, and logos."""
    return {
        ("register", "POST"): Operation(
            "Register a client",
            (
                json_response("Registered (RFC 7591 section 3.2.1).", _REGISTERED, status=201),
                *error_responses(
                    register.ORIGIN,
                    register.OPEN,
                    register.ONE_TOKEN,
                    register.ALLOWED,
                    *_METADATA_CHECKS,
                    headers=_CHALLENGE,
                ),
                too_many("api", REGISTRATION, CLIENT_ADDRESS),
                unavailable("api"),
            ),
            json=_REQUEST,
            security=_INITIAL,
        ),
        ("registration", "GET"): Operation(
            "Read a client's registration", (_CURRENT, *_NOT_OWN, unavailable("api")), security=_OWN
        ),
        ("registration", "PUT"): Operation(
            "Replace a client's registration",
            (
                _CURRENT,
                *error_responses(
                    register.ORIGIN,
                    register.ONE_TOKEN,
                    register.OWN,
                    register.SAME,
                    register.STRENGTH,
                    *_METADATA_CHECKS,
                    headers=_CHALLENGE,
                ),
                _TOO_MANY_FAILURES,
                unavailable("api"),
            ),
            json=_REPLACEMENT,
            security=_OWN,
        ),
        ("registration", "DELETE"): Operation(
            "Delete a client's registration, and end its authorizations",
            (ResponseObject(204, "Deleted. The client's tokens are no longer valid."), *_NOT_OWN, unavailable("api")),
            security=_OWN,
        ),
        ("logo", "GET"): Operation(
            "Get a client's logo",
            (
                ResponseObject(200, "A raster image.", dict.fromkeys(_IMAGES, string())),
                json_response("The client has no logo.", error_body("invalid_request"), status=404),
                unavailable("api"),
            ),
        ),
    }
