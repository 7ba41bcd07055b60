"""The OpenID Connect part of the description: userinfo, metadata, and the checks at /authorize."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rolecall import checks
from rolecall.openapi import (
    JSON,
    Operation,
    Operations,
    ResponseObject,
    Schema,
    Security,
    closed,
    error_responses,
    string,
    unavailable,
)
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_auth.endpoints import userinfo
from rolecall_auth.models.session import ACR
from rolecall_auth.openapi.parameters import guard_checks
from rolecall_auth.openid import id_tokens, scopes
from rolecall_auth.openid.authentication_request import PROMPTS, RESPONSE_MODES
from rolecall_auth.parameters import BY_ENDPOINT

_BEARER: Final[Security] = ({"access_token": []}, {})

SECURITY_SCHEMES: Final = {
    "access_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token of this server with the scope openid.",
    }
}


def userinfo_operations() -> Operations:
    """Return the operations of GET and POST /userinfo."""
    errors = error_responses(
        *checks.defined_in(userinfo),
        *guard_checks("userinfo", "access_token"),
        headers=dict.fromkeys((400, 401, 403), ("WWW-Authenticate",)),
    )
    responses = (
        ResponseObject(
            200,
            "The user's claims: those of the token's scope, and those requested individually (OpenID Connect Core "
            "section 5.3.2). The response is signed if the client registered userinfo_signed_response_alg.",
            {JSON: _PERSON, "application/jwt": string()},
        ),
        *(_or_empty(error) if error.status == 401 else error for error in errors),
        unavailable("api"),
    )
    [parameter] = BY_ENDPOINT["userinfo"]
    token = string(
        description=parameter.clause,
        minLength=1,
        maxLength=parameter.max_length,
        pattern=f"^(?:{parameter.grammar.pattern})$",
    )
    form = {"type": "object", "properties": {"access_token": token}}
    return {
        ("userinfo", "GET"): Operation("Get the user's claims", responses, security=_BEARER),
        ("userinfo", "POST"): Operation("Get the user's claims", responses, form=form, security=_BEARER),
    }


def _or_empty(error: ResponseObject) -> ResponseObject:
    """Allow an empty object: the response to a request without a token has no error code (RFC 6750 section 3.1)."""
    return replace(error, content={JSON: {"oneOf": [error.content[JSON], closed({})]}})


_BOOLEAN: Final = {"type": "boolean"}
CUSTOM_CLAIMS: Final[Schema] = {
    "additionalProperties": {"description": "A claim that no specification defines, such as groups: any JSON value."}
}
"""The members that claim scopes add to an object."""

_PERSON: Final[Schema] = {
    **closed(
        {
            "sub": string(),
            **{name: string() for names in scopes.CLAIMS.values() for name in names},
            "updated_at": {"type": "number", "description": "Seconds since the epoch."},
            "email_verified": _BOOLEAN,
            "phone_number_verified": _BOOLEAN,
            "address": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        optional=[name for names in scopes.CLAIMS.values() for name in names],
    ),
    **CUSTOM_CLAIMS,
}

METADATA: Final[Schema] = {
    "subject_types_supported": {"const": ["public", "pairwise"]},
    "id_token_signing_alg_values_supported": {"const": list(ID_TOKEN_ALGORITHMS)},
    "userinfo_signing_alg_values_supported": {"const": list(ID_TOKEN_ALGORITHMS)},
    "response_modes_supported": {"const": list(RESPONSE_MODES)},
    "acr_values_supported": {"const": [ACR]},
    "prompt_values_supported": {"const": list(PROMPTS)},
    "claim_types_supported": {"const": ["normal"]},
    "claims_supported": {"type": "array", "items": string(), "minItems": len(id_tokens.CLAIMS), "uniqueItems": True},
    "claims_parameter_supported": {"const": True},
}
