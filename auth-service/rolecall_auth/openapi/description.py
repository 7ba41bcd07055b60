"""What the authorization server says of itself in OpenAPI 3.1: from the guard's table, the grants and the checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall import checks
from rolecall.checks import Check
from rolecall.openapi import (
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
    redirect,
    ref,
    string,
    unavailable,
)
from rolecall.vocabulary import CLIENT_AUTH_METHODS, CODE_CHALLENGE_METHOD, ID_TOKEN_ALGORITHMS
from rolecall_auth.clients import assertion
from rolecall_auth.clients import authentication as client
from rolecall_auth.endpoints import authorize, introspect, revoke
from rolecall_auth.grants import GRANTS, authorization_code, refresh_token, token_response
from rolecall_auth.jose import access_tokens
from rolecall_auth.openapi import openid, registration
from rolecall_auth.openapi.pages import page_operations
from rolecall_auth.openapi.parameters import SESSION, TOO_MANY, form_of, guard_checks, in_query, parameter_of, schema_of
from rolecall_auth.openid import request_object, scopes
from rolecall_auth.parameters import BY_ENDPOINT
from rolecall_auth.routes import ROUTES
from rolecall_auth.settings import Settings

_TEXT: Final = (
    "The authorization server of the role diagram (RFC 6749 section 1.1). A parameter that is sent twice is refused, "
    "an empty one counts as omitted, and an unknown one is ignored (sections 3.1 and 3.2). Clients that authenticate "
    "with client_secret_post, and those without a secret, name themselves in the body; those with a key or a sealed "
    "secret do so in a JWT that they sign (RFC 7523)."
)

OF_GRANT: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "authorization_code": (("code",), ("redirect_uri", "code_verifier", "resource")),
    "refresh_token": (("refresh_token",), ("scope", "resource")),
}
"""The parameters that each grant needs, and those that it takes."""

_OF_CLIENT: Final = ("client_id", "client_secret", "client_assertion", "client_assertion_type")
_TARGET: Final = ("client_id", "redirect_uri")
"""What decides where the answer goes: when it is wrong, it goes nowhere."""

_SECURITY_SCHEMES: Final[Mapping[str, Schema]] = {
    "client_secret_basic": {
        "type": "http",
        "scheme": "basic",
        "description": "A client's or resource's id and secret, each form-urlencoded first (RFC 6749 section 2.3.1).",
    },
}

_IN_HEADER: Final[Security] = ({"client_secret_basic": []},)
_ANY_METHOD: Final[Security] = (*_IN_HEADER, {})
"""OpenAPI has no scheme for what stands in the body."""

_BACK_CHANNEL: Final = (
    client.FORM_TYPE,
    client.IN_BODY,
    client.ONE_METHOD,
    client.SAME_CLIENT,
    client.AUTHENTICATED,
    token_response.PARAMETERS,
)

_ASSERTION: Final = (
    assertion.SIGNATURE,
    assertion.SUBJECT,
    assertion.AUDIENCE,
    assertion.TIME,
    assertion.ONCE,
)


def _engine(*errors: str) -> tuple[Check, ...]:
    return tuple(checks.registry[f"engine.{error}"] for error in errors)


_AT_AUTHORIZE: Final = (
    request_object.ONE,
    request_object.REGISTERED,
    request_object.FETCHED,
    request_object.SIGNATURE,
    request_object.ISSUER,
    request_object.AUDIENCE,
    request_object.TIME,
    request_object.CLIENT,
    request_object.VALUES,
    request_object.NOT_NESTED,
    authorize.RESPONSE_TYPE,
    authorization_code.CHALLENGE,
    authorization_code.METHOD,
    authorization_code.OWNER,
    authorization_code.CONSENT,
    scopes.TARGET,
    scopes.SCOPE,
    *_engine("invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "access_denied"),
    *openid.AT_AUTHORIZE,
)

_AT_TOKEN: Final = (
    *_engine("invalid_request", "invalid_grant", "unauthorized_client", "unsupported_grant_type"),
    authorization_code.ALIVE,
    authorization_code.REDIRECT_URI,
    authorization_code.RESOURCE,
    authorization_code.VERIFIER_SENT,
    authorization_code.NO_STRAY_VERIFIER,
    authorization_code.VERIFIER,
    authorization_code.ONCE,
    refresh_token.ALIVE,
    refresh_token.ONCE,
    refresh_token.SCOPE,
    refresh_token.RESOURCE,
    token_response.ALIVE,
)

_DECIDE_ACTIVE: Final = (
    access_tokens.SIGNATURE,
    access_tokens.TYPE,
    access_tokens.ISSUER,
    access_tokens.EXPIRY,
    introspect.AUDIENCE,
    introspect.REVOKED,
)


def description(settings: Settings, cookie: str) -> Description:
    """Everything but the table of routes; `cookie` names a person's session."""
    return Description(
        "Authorization server",
        _TEXT,
        settings.issuer,
        {**_for_programs(settings), **_authorize(), **page_operations()},
        {"Metadata": _metadata(settings), "KeySet": _KEY_SET},
        {
            **_SECURITY_SCHEMES,
            **openid.SECURITY_SCHEMES,
            **registration.SECURITY_SCHEMES,
            "session": {"type": "apiKey", "in": "cookie", "name": cookie},
        },
    )


def _for_programs(settings: Settings) -> Operations:
    methods = {"x-client-authentication": list(CLIENT_AUTH_METHODS)}
    return {
        ("token", "POST"): Operation(
            "Get tokens for a grant",
            (
                json_response("Tokens (RFC 6749 section 5.1).", _token_response(settings)),
                *_refusals("token", *_ASSERTION, *_AT_TOKEN),
            ),
            form={"oneOf": [_grant_request(grant.grant_type) for grant in GRANTS]},
            security=_ANY_METHOD,
            extensions=methods,
        ),
        ("introspect", "POST"): Operation(
            "Ask whether a token is good, and what it says",
            (
                ResponseObject(
                    200,
                    "What it says, when it is active and meant for the resource that asks (RFC 7662 section 2.2).",
                    {JSON: {"oneOf": [_active(settings), closed({"active": {"const": False}})]}},
                    checks=_DECIDE_ACTIVE,
                ),
                *_refusals("introspect"),
            ),
            form=form_of("introspect", "token"),
            security=_IN_HEADER,
            extensions={"x-client-authentication": ["client_secret_basic"]},
        ),
        ("revoke", "POST"): Operation(
            "End a token; with a refresh token, all that came with it",
            (
                ResponseObject(200, "It is worth nothing, whatever it was before (RFC 7009 section 2.2)."),
                *_refusals("revoke", *_ASSERTION, revoke.OWN),
            ),
            form=form_of("revoke", "token"),
            security=_ANY_METHOD,
            extensions=methods,
        ),
        ("jwks", "GET"): Operation(
            "The keys that tokens are signed with",
            (
                ResponseObject(200, "A JWK Set.", {"application/jwk-set+json": ref("KeySet")}, ("ETag",)),
                NOT_MODIFIED,
                unavailable("api"),
            ),
            (IF_NONE_MATCH,),
        ),
        **{
            (name, "GET"): Operation(
                "What this server can do, and where",
                (json_response(f"Metadata ({clause}).", ref("Metadata")), unavailable("api")),
            )
            for name, clause in (
                ("metadata", "RFC 8414 section 2"),
                ("openid-configuration", "OpenID Connect Discovery section 3"),
            )
        },
        **openid.userinfo_operations(),
        **registration.registration_operations(),
    }


def _authorize() -> Operations:
    names = {parameter.name for parameter in BY_ENDPOINT["authorize"]}
    required = ("client_id",)
    answers = (
        html(200, "A form that carries the same to the client (response_mode form_post)."),
        redirect(
            "To sign-in or consent, or to the client with a code or an error, and always with iss (RFC 9207).",
            *guard_checks("authorize", *names.difference(_TARGET)),
            *_AT_AUTHORIZE,
        ),
        html(
            400,
            "The client or its redirect URI cannot be trusted, or the request waits no longer: the person is told.",
            checks=(
                authorize.CLIENT,
                authorize.REDIRECT_URI,
                authorize.REDIRECT_URI_GIVEN,
                *guard_checks("authorize", *_TARGET, "interaction"),
            ),
        ),
        TOO_MANY,
        unavailable("page"),
    )
    return {
        ("authorize", "GET"): Operation(
            "Ask a person for access",
            answers,
            tuple(in_query("authorize", parameter.name, *required) for parameter in BY_ENDPOINT["authorize"]),
            security=SESSION,
        ),
        ("authorize", "POST"): Operation(
            "Ask a person for access, with a form",
            answers,
            (in_query("authorize", "interaction"),),
            form_of("authorize", *required),
        ),
    }


def _refusals(endpoint: str, *more: Check) -> tuple[ResponseObject, ...]:
    """The errors of an endpoint that programs call."""
    guard = guard_checks(endpoint, *(parameter.name for parameter in BY_ENDPOINT[endpoint]))
    return (
        *error_responses(*guard, *_BACK_CHANNEL, *more, headers={401: ("WWW-Authenticate",)}),
        json_response(
            "Too many failed authentications; Retry-After says how long to wait.",
            error_body("temporarily_unavailable"),
            "Retry-After",
            status=429,
        ),
        unavailable("api"),
    )


def _grant_request(grant_type: str) -> Schema:
    required, optional = OF_GRANT.get(grant_type, ((), ()))
    properties = {name: schema_of("token", name) for name in (*required, *optional, *_OF_CLIENT)}
    grant = {"grant_type": string(const=grant_type, description=parameter_of("token", "grant_type").clause)}
    return {
        "title": grant_type,
        "type": "object",
        "properties": {**grant, **properties},
        "required": ["grant_type", *required],
    }


_TIME: Final[Schema] = {"type": "integer", "description": "Seconds since the epoch."}


def _token_response(settings: Settings) -> Schema:
    return closed(
        {
            "access_token": string(description="A JWT of the profile RFC 9068."),
            "token_type": {"const": "Bearer"},
            "expires_in": {"const": settings.access_token_lifetime},
            "scope": string(),
            "refresh_token": string(
                description="For clients that are registered for the grant refresh_token; beside openid, when the "
                "person allowed offline_access."
            ),
            "id_token": string(description="A JWT, with the scope openid (OpenID Connect Core section 2)."),
        },
        optional=["refresh_token", "id_token"],
    )


def _active(settings: Settings) -> Schema:
    return closed(
        {
            "active": {"const": True},
            "iss": {"const": settings.issuer},
            **{name: string() for name in ("sub", "client_id", "scope", "jti")},
            "aud": {"oneOf": [string(), {"type": "array", "items": string()}]},
            "iat": _TIME,
            "exp": _TIME,
            "token_type": {"const": "Bearer"},
        }
    )


_KEY_SET: Final[Schema] = closed(
    {
        "keys": {
            "type": "array",
            "minItems": len(ID_TOKEN_ALGORITHMS),
            "items": {
                "oneOf": [
                    closed(
                        {
                            **{name: string() for name in ("kid", *members)},
                            "kty": {"const": kty},
                            "alg": {"const": algorithm},
                            "use": {"const": "sig"},
                        }
                    )
                    for kty, algorithm, members in (
                        ("EC", "ES256", ("crv", "x", "y")),
                        ("RSA", "RS256", ("n", "e")),
                        ("RSA", "PS256", ("n", "e")),
                        ("OKP", "EdDSA", ("crv", "x")),
                    )
                ]
            },
        }
    }
)


def _metadata(settings: Settings) -> Schema:
    texts: Schema = {"type": "array", "items": string()}
    methods: Schema = {"type": "array", "items": string(enum=list(CLIENT_AUTH_METHODS))}
    endpoints = ("token", "revocation", "introspection")
    return closed(
        {
            "issuer": {"const": settings.issuer},
            **{route.metadata: string(format="uri") for route in ROUTES if route.metadata},
            "scopes_supported": texts,
            "response_types_supported": {"const": ["code"]},
            "grant_types_supported": {"const": [grant.grant_type for grant in GRANTS]},
            "code_challenge_methods_supported": {"const": [CODE_CHALLENGE_METHOD]},
            **{f"{endpoint}_endpoint_auth_methods_supported": methods for endpoint in endpoints},
            **{f"{endpoint}_endpoint_auth_signing_alg_values_supported": texts for endpoint in endpoints[:2]},
            "request_parameter_supported": {"const": True},
            "request_uri_parameter_supported": {"const": True},
            "require_request_uri_registration": {"const": True},
            "request_object_signing_alg_values_supported": texts,
            "authorization_response_iss_parameter_supported": {"const": True},
            "protected_resources": texts,
            **openid.METADATA,
        }
    )
