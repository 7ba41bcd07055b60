"""Dynamic registration's part of the description, from the table of client metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall.checks import Check
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

_ANY_OF_METADATA: Final[tuple[Check, ...]] = (
    register.JSON,
    *(member.check for member in MEMBERS),
    metadata.KEYS_OR_URI,
    metadata.CONSISTENT,
    metadata.SECTOR,
    metadata.NOT_ENCRYPTED,
)

SECURITY_SCHEMES: Final = {
    "initial_access_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "From `flask registration-token`; needed unless REGISTRATION is open (RFC 7591 section 3).",
    },
    "registration_access_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "What the client was given when it was registered (RFC 7592 section 3).",
    },
}
_INITIAL: Final[Security] = ({"initial_access_token": []}, {})
_OWN: Final[Security] = ({"registration_access_token": []},)

_KINDS: Final[Mapping[str, Schema]] = {
    "number": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "keys": {"type": "object", "properties": {"keys": {"type": "array", "items": {"type": "object"}}}},
}


def _member(member: Member) -> Schema:
    if member.kind in _KINDS:
        return {**_KINDS[member.kind], "description": member.clause}
    text = string(maxLength=member.max_length, **({"enum": list(member.choices)} if member.choices else {}))
    if member.kind in {"texts", "uris"}:
        return {"type": "array", "items": text, "maxItems": member.max_items, "description": member.clause}
    return {**text, "description": member.clause}


_METADATA: Final[Mapping[str, Schema]] = {member.name: _member(member) for member in MEMBERS}
_ALWAYS: Final = frozenset(
    {"redirect_uris", "client_name", "scope"} | {member.name for member in MEMBERS if member.default is not None}
)

_TOLD: Final[Mapping[str, Schema]] = {
    **_METADATA,
    "client_id": string(),
    "client_id_issued_at": {"type": "integer", "description": "Seconds since the epoch."},
    "registration_client_uri": string(format="uri"),
    "registration_access_token": string(),
}
_OPTIONAL: Final = [name for name in _METADATA if name not in _ALWAYS]

_ASKED: Final[Schema] = {"type": "object", "properties": _METADATA, "required": ["redirect_uris"]}

_TOO_MANY: Final = json_response(
    "Too many registrations, or attempts at one; Retry-After says how long to wait.",
    error_body("temporarily_unavailable"),
    "Retry-After",
    status=429,
)


def registration_operations() -> Operations:
    """POST /register; GET, PUT and DELETE of what was registered."""
    made = closed(
        {
            **_TOLD,
            "client_secret": string(description="For methods that need one."),
            "client_secret_expires_at": {"const": 0, "description": "Never."},
        },
        optional=[*_OPTIONAL, "client_secret", "client_secret_expires_at"],
    )
    told = json_response("What is registered.", closed(_TOLD, optional=_OPTIONAL))
    challenged = {401: ("WWW-Authenticate",)}
    not_own = (*error_responses(register.OWN, headers=challenged), _TOO_MANY)
    replaced = {
        **_ASKED,
        "properties": {**_METADATA, "client_id": string(), "client_secret": string()},
        "required": ["client_id", "redirect_uris"],
    }
    return {
        ("register", "POST"): Operation(
            "Register a client",
            (
                json_response("Registered (RFC 7591 section 3.2.1).", made, status=201),
                *error_responses(register.OPEN, register.ALLOWED, *_ANY_OF_METADATA, headers=challenged),
                _TOO_MANY,
                unavailable("api"),
            ),
            json=_ASKED,
            security=_INITIAL,
        ),
        ("registration", "GET"): Operation(
            "What a client registered", (told, *not_own, unavailable("api")), security=_OWN
        ),
        ("registration", "PUT"): Operation(
            "Replace what a client registered",
            (
                told,
                *error_responses(register.OWN, register.SAME, *_ANY_OF_METADATA, headers=challenged),
                _TOO_MANY,
                unavailable("api"),
            ),
            json=replaced,
            security=_OWN,
        ),
        ("registration", "DELETE"): Operation(
            "End a registration, and all that came of it",
            (ResponseObject(204, "It is gone, and its tokens are worth nothing."), *not_own, unavailable("api")),
            security=_OWN,
        ),
        ("logo", "GET"): Operation(
            "A client's logo",
            (
                ResponseObject(200, "A raster image.", dict.fromkeys(_IMAGES, string())),
                json_response("There is none.", error_body("invalid_request"), status=404),
                unavailable("api"),
            ),
        ),
    }


_IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
