"""The guard's table as OpenAPI has parameters, and the checks that stand behind each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall.checks import Check
from rolecall.openapi import Schema, Security, html, string
from rolecall.vocabulary import CODE_CHALLENGE_METHOD
from rolecall_auth.parameters import BY_ENDPOINT, Parameter

_WORDS: Final[Mapping[str, Schema]] = {
    "response_type": {"const": "code"},
    "code_challenge_method": {"const": CODE_CHALLENGE_METHOD},
}
"""The values that mean something, where the grammar allows more."""

_NOTES: Final[Mapping[str, str]] = {
    "authorize.redirect_uri": "needed with the scope openid, or when several are registered",
    "authorize.response_type": "needed, but in the request object when there is one",
    "authorize.code_challenge": "needed, but for confidential clients of the profile openid",
    "authorize.code_challenge_method": "needed with a code_challenge",
    "token.redirect_uri": "needed when it was in the authorization request",
    "token.code_verifier": "needed when there was a code_challenge",
}
"""What a list of required parameters cannot say."""


SESSION: Final[Security] = ({"session": []}, {})
"""Of a person who may be signed in."""

TOO_MANY: Final = html(429, "Too many attempts; Retry-After says how long to wait.", "Retry-After")


def guard_checks(endpoint: str, *names: str) -> tuple[Check, ...]:
    """The checks of these parameters of an endpoint."""
    found = [parameter for parameter in BY_ENDPOINT[endpoint] if parameter.name in names]
    return tuple(check for parameter in found for check in (parameter.once, parameter.well_formed))


def parameter_of(endpoint: str, name: str) -> Parameter:
    """The row of the guard's table."""
    return next(parameter for parameter in BY_ENDPOINT[endpoint] if parameter.name == name)


def schema_of(endpoint: str, name: str) -> Schema:
    """What a parameter has to be at an endpoint."""
    parameter, note = parameter_of(endpoint, name), _NOTES.get(f"{endpoint}.{name}")
    return string(
        description=f"{parameter.clause}; {note}" if note else parameter.clause,
        minLength=1,
        maxLength=parameter.max_length,
        pattern=f"^(?:{parameter.grammar.pattern})$",
        **_WORDS.get(name, {}),
    )


def in_query(endpoint: str, name: str, *required: str) -> Schema:
    """A Parameter Object in the query."""
    return {"name": name, "in": "query", "required": name in required, "schema": schema_of(endpoint, name)}


def form_of(endpoint: str, *required: str) -> Schema:
    """The schema of an endpoint's form."""
    properties = {parameter.name: schema_of(endpoint, parameter.name) for parameter in BY_ENDPOINT[endpoint]}
    return {"type": "object", "properties": properties, "required": list(required)}
