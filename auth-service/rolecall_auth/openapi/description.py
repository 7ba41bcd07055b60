"""The OpenAPI 3.1 description, derived from the tables of parameters, grants, and checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall import checks
from rolecall.checks import Check
from rolecall.limits import Limit, too_many, with_limits
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
    error_responses,
    html,
    json_response,
    redirect,
    ref,
    string,
    unavailable,
)
from rolecall.vocabulary import CLIENT, CLIENT_AUTH_METHODS, CODE_CHALLENGE_METHOD, ID_TOKEN_ALGORITHMS, SUBJECT_KIND
from rolecall_auth import limits
from rolecall_auth.clients import assertion, authentication
from rolecall_auth.endpoints import authorize, introspect, revoke
from rolecall_auth.grants import GRANTS, Grant, authorization_code, token_response
from rolecall_auth.jose import access_tokens
from rolecall_auth.openapi import openid, registration
from rolecall_auth.openapi.pages import page_operations
from rolecall_auth.openapi.parameters import (
    SESSION,
    find_parameter,
    form_schema,
    guard_checks,
    in_query,
    parameter_schema,
)
from rolecall_auth.openid import authentication_request, request_object, scopes
from rolecall_auth.parameters import BY_ENDPOINT, REQUIRED
from rolecall_auth.routes import ROUTES
from rolecall_auth.settings import Settings

_TEXT: Final = (
    "The authorization server (RFC 6749 section 1.1). A repeated parameter is rejected, an empty one counts as "
    "omitted, and an unknown one is ignored (sections 3.1 and 3.2). Clients that use client_secret_post, and public "
    "clients, identify themselves in the body. Clients that use private_key_jwt or client_secret_jwt send a signed "
    "JWT (RFC 7523)."
)

CLIENT_PARAMETERS: Final = ("client_id", "client_secret", "client_assertion", "client_assertion_type")
"""The parameters that identify or authenticate the client."""

_TARGET: Final = ("client_id", "redirect_uri")
"""The parameters that determine where the response is sent. If one is invalid, the response is an error page."""

_SECURITY_SCHEMES: Final[Mapping[str, Schema]] = {
    "client_secret_basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The ID and the secret of a client or resource, each form-urlencoded (RFC 6749 section 2.3.1).",
    },
}

_IN_HEADER: Final[Security] = ({"client_secret_basic": []},)
_ANY_METHOD: Final[Security] = (*_IN_HEADER, {})
"""Security is optional here, because OpenAPI has no security scheme for credentials in the body."""

_BACK_CHANNEL: Final = (*checks.defined_in(authentication), REQUIRED)
_ASSERTION: Final = checks.defined_in(assertion)


def _engine(*errors: str) -> tuple[Check, ...]:
    return tuple(checks.registry[f"engine.{error}"] for error in errors)


_AT_AUTHORIZE: Final = (
    *checks.defined_in(request_object, scopes, authentication_request),
    authorize.LENGTH,
    authorize.RESPONSE_TYPE,
    authorization_code.CHALLENGE,
    authorization_code.METHOD,
    authorization_code.OWNER,
    authorization_code.CONSENT,
    *_engine("invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "access_denied"),
)

_OF_THE_PERSON: Final = (
    authentication_request.SIGNED_IN,
    authentication_request.CONSENTED,
    authorization_code.OWNER,
    authorization_code.CONSENT,
    *_engine("access_denied"),
)
"""The checks of the sign-in and the consent. Only GET makes them: a POST redirects to a GET first."""

_AT_TOKEN: Final = (
    *_engine("invalid_request", "invalid_grant", "unauthorized_client", "unsupported_grant_type"),
    *dict.fromkeys(check for grant in GRANTS for check in grant.checks),
    token_response.ALIVE,
)

_DECIDE_ACTIVE: Final = checks.defined_in(access_tokens, introspect)


def build_description(settings: Settings, cookie: str) -> Description:
    """Return the description; `cookie` is the name of the session cookie."""
    return Description(
        "Authorization server",
        _TEXT,
        settings.issuer,
        {
            **_back_channel(settings),
            **_documents(),
            **openid.userinfo_operations(),
            **registration.registration_operations(),
            **_authorize(),
            **page_operations(),
        },
        {"Metadata": _metadata(settings), "KeySet": _KEY_SET},
        {
            **_SECURITY_SCHEMES,
            **openid.SECURITY_SCHEMES,
            **registration.SECURITY_SCHEMES,
            "session": {"type": "apiKey", "in": "cookie", "name": cookie},
        },
    )


def _back_channel(settings: Settings) -> Operations:
    methods = {"x-client-authentication": list(CLIENT_AUTH_METHODS)}
    return {
        ("token", "POST"): Operation(
            "Exchange a grant for tokens",
            (
                json_response("Tokens (RFC 6749 section 5.1).", _TOKEN_RESPONSE),
                *_errors("token", limits.ASSERTION_BYTES, checks=(*_ASSERTION, *_AT_TOKEN)),
            ),
            form={"oneOf": [_grant_request(grant) for grant in GRANTS]},
            security=_ANY_METHOD,
            extensions=methods,
        ),
        ("introspect", "POST"): Operation(
            "Get the status and the claims of a token",
            (
                ResponseObject(
                    200,
                    "The claims, if the token is active and its audience is the caller (RFC 7662 section 2.2).",
                    {JSON: {"oneOf": [_active_token(settings), closed({"active": {"const": False}})]}},
                    checks=_DECIDE_ACTIVE,
                ),
                *_errors("introspect"),
            ),
            form=form_schema("introspect", "token"),
            security=_IN_HEADER,
            extensions={"x-client-authentication": ["client_secret_basic"]},
        ),
        ("revoke", "POST"): Operation(
            "Revoke a token; a refresh token ends its whole authorization",
            (
                ResponseObject(
                    200,
                    "The token is no longer valid, or never was (RFC 7009 section 2.2).",
                    checks=checks.defined_in(access_tokens),
                ),
                *_errors("revoke", limits.ASSERTION_BYTES, checks=(*_ASSERTION, *checks.defined_in(revoke))),
            ),
            form=form_schema("revoke", "token"),
            security=_ANY_METHOD,
            extensions=methods,
        ),
    }


def _documents() -> Operations:
    return {
        ("jwks", "GET"): Operation(
            "Get the public keys that verify tokens",
            (
                ResponseObject(200, "A JWK Set.", {"application/jwk-set+json": ref("KeySet")}, ("ETag",)),
                NOT_MODIFIED,
                unavailable("api"),
            ),
            (IF_NONE_MATCH,),
        ),
        **{
            (name, "GET"): Operation(
                "Get the endpoints and capabilities of this server",
                (json_response(f"Metadata ({clause}).", ref("Metadata"), "ETag"), NOT_MODIFIED, unavailable("api")),
                (IF_NONE_MATCH,),
            )
            for name, clause in (
                ("metadata", "RFC 8414 section 2"),
                ("openid-configuration", "OpenID Connect Discovery section 3"),
            )
        },
    }


def _authorize() -> Operations:
    names = {parameter.name for parameter in BY_ENDPOINT["authorize"]}
    sent_to_client = (*guard_checks("authorize", *names.difference(_TARGET)), *_AT_AUTHORIZE)
    required = ("client_id",)
    return {
        ("authorize", "GET"): Operation(
            "Request access",
            _authorize_responses((limits.ACCOUNT_AUTHORIZATION,), *sent_to_client),
            tuple(in_query("authorize", parameter.name, *required) for parameter in BY_ENDPOINT["authorize"]),
            security=SESSION,
        ),
        ("authorize", "POST"): Operation(
            "Request access with a form",
            _authorize_responses((), *(check for check in sent_to_client if check not in _OF_THE_PERSON)),
            (in_query("authorize", "interaction"),),
            form_schema("authorize", *required),
        ),
    }


def _authorize_responses(counted: tuple[Limit, ...], *sent_to_client: Check) -> tuple[ResponseObject, ...]:
    """Return the responses of /authorize; if one of these checks fails, the client receives the error.

    Args:
        counted: limits that only this method counts.
    """
    return (
        html(
            200,
            "A form that posts the response, a code or an error, to the client (response_mode form_post).",
            checks=sent_to_client,
        ),
        redirect(
            "To sign-in or consent, or to the client with a code or an error, and with iss (RFC 9207).",
            *sent_to_client,
        ),
        html(
            400,
            "The client or its redirect URI is invalid, or the request is no longer pending.",
            checks=(
                authorize.CLIENT,
                authorize.REDIRECT_URI,
                authorize.REDIRECT_URI_GIVEN,
                *guard_checks("authorize", *_TARGET, "interaction"),
            ),
        ),
        too_many("page", limits.AUTHORIZATION, limits.AUTHORIZATION_BYTES, *counted),
        with_limits(unavailable("page"), limits.ANONYMOUS_BYTES),
    )


def _errors(endpoint: str, *more_limits: Limit, checks: tuple[Check, ...] = ()) -> tuple[ResponseObject, ...]:
    """Return the error responses of a back-channel endpoint."""
    guard = guard_checks(endpoint, *(parameter.name for parameter in BY_ENDPOINT[endpoint]))
    return (
        *error_responses(*guard, *_BACK_CHANNEL, *checks, headers={401: ("WWW-Authenticate",)}),
        too_many("api", limits.CLIENT, limits.CLIENT_ADDRESS, *more_limits),
        unavailable("api"),
    )


def _grant_request(grant: Grant) -> Schema:
    names = (*grant.required, *grant.optional, *CLIENT_PARAMETERS)
    clause = find_parameter("token", "grant_type").clause
    return {
        "title": grant.grant_type,
        "description": f"{grant.clause}; for confidential clients" if grant.confidential_only else grant.clause,
        "type": "object",
        "properties": {
            "grant_type": string(const=grant.grant_type, description=clause),
            **{name: parameter_schema("token", name) for name in names},
        },
        "required": ["grant_type", *grant.required],
    }


_TIME: Final[Schema] = {"type": "integer", "description": "Seconds since the epoch."}


_TOKEN_RESPONSE: Final[Schema] = closed(
    {
        "access_token": string(
            description="A JWT (RFC 9068). Its resource determines the algorithm, the lifetime, and the type."
        ),
        "token_type": {"const": "Bearer"},
        "expires_in": {"type": "integer", "minimum": 1, "description": "Seconds."},
        "scope": string(),
        "refresh_token": string(
            description="For clients that are registered for the grant refresh_token. With the scope openid, only if "
            "the user allowed offline_access."
        ),
        "id_token": string(description="A JWT, with the scope openid (OpenID Connect Core section 2)."),
    },
    optional=["refresh_token", "id_token"],
)


def _active_token(settings: Settings) -> Schema:
    members: Schema = {
        "active": {"const": True},
        "iss": {"const": settings.issuer},
        **{name: string() for name in ("sub", "client_id", "scope", "jti")},
        "aud": {"oneOf": [string(), {"type": "array", "items": string()}]},
        "iat": _TIME,
        "exp": _TIME,
        "token_type": {"const": "Bearer"},
        SUBJECT_KIND: {"const": CLIENT, "description": "Present if the subject is the client, not a user."},
    }
    return {**closed(members, optional=[SUBJECT_KIND]), **openid.CUSTOM_CLAIMS}


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
            "response_types_supported": {"const": [grant.response_type for grant in GRANTS if grant.response_type]},
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
