"""The table of request parameters in OpenAPI form, and the checks of each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall.checks import Check
from rolecall.openapi import Schema, Security, string
from rolecall.vocabulary import CODE_CHALLENGE_METHOD
from rolecall_auth.parameters import BY_ENDPOINT, Parameter

_ALLOWED_VALUES: Final[Mapping[str, Schema]] = {
    "response_type": {"const": "code"},
    "code_challenge_method": {"const": CODE_CHALLENGE_METHOD},
}
"""Constraints for parameters whose grammar also allows unsupported values."""

_NOTES: Final[Mapping[str, str]] = {
    "authorize.redirect_uri": "required with the scope openid, or if several are registered",
    "authorize.response_type": "required; in the request object if there is one",
    "authorize.code_challenge": "required, except for confidential clients of the profile openid",
    "authorize.code_challenge_method": "required with a code_challenge",
    "token.redirect_uri": "required if it was in the authorization request",
    "token.code_verifier": "required if there was a code_challenge",
}
"""Conditions that a list of required parameters cannot express."""

SESSION: Final[Security] = ({"session": []}, {})
"""The session cookie, which is optional."""


def guard_checks(endpoint: str, *names: str) -> tuple[Check, ...]:
    """Return the checks of these parameters by which an endpoint rejects requests."""
    parameters = [parameter for parameter in BY_ENDPOINT[endpoint] if parameter.name in names]
    return (
        *(each.once for each in parameters),
        *(each.well_formed for each in parameters if endpoint in each.rejected_at),
    )


def find_parameter(endpoint: str, name: str) -> Parameter:
    """Return the parameter's row in the table."""
    return next(parameter for parameter in BY_ENDPOINT[endpoint] if parameter.name == name)


def parameter_schema(endpoint: str, name: str) -> Schema:
    """Return the schema of a parameter at an endpoint."""
    parameter, note = find_parameter(endpoint, name), _NOTES.get(f"{endpoint}.{name}")
    return string(
        description=f"{parameter.clause}; {note}" if note else parameter.clause,
        minLength=1,
        maxLength=parameter.max_length,
        pattern=f"^(?:{parameter.grammar.pattern})$",
        **_ALLOWED_VALUES.get(name, {}),
    )


def in_query(endpoint: str, name: str, *required: str) -> Schema:
    """Return the Parameter Object of a query parameter."""
    return {"name": name, "in": "query", "required": name in required, "schema": parameter_schema(endpoint, name)}


def form_schema(endpoint: str, *required: str) -> Schema:
    """Return the schema of an endpoint's form."""
    properties = {parameter.name: parameter_schema(endpoint, parameter.name) for parameter in BY_ENDPOINT[endpoint]}
    return {"type": "object", "properties": properties, "required": list(required)}
