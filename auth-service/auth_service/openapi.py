"""What the authorization server says of itself in OpenAPI 3.1: from the guard's table, the grants and the checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from auth_service import client_authentication as client
from auth_service import tokens
from auth_service.endpoints import authorize, introspect, revoke
from auth_service.grants import GRANTS, authorization_code, issue, refresh_token
from auth_service.models.user import MAX_PASSWORD, MIN_PASSWORD
from auth_service.parameters import BY_ENDPOINT, Parameter
from auth_service.routes import ROUTES
from auth_service.settings import Settings
from rolecall import checks
from rolecall.checks import Check
from rolecall.openapi import (
    IF_NONE_MATCH,
    JSON,
    NOT_MODIFIED,
    Answer,
    Description,
    Operation,
    Operations,
    Schema,
    Security,
    closed,
    error_body,
    html,
    json_answer,
    redirect,
    ref,
    refusals,
    string,
    unavailable,
)
from rolecall.vocabulary import CLIENT_AUTH_METHODS, CODE_CHALLENGE_METHOD, SIGNING_ALGORITHMS

_TEXT: Final = (
    "The authorization server of the role diagram (RFC 6749 section 1.1). A parameter that is sent twice is refused, "
    "an empty one counts as omitted, and an unknown one is ignored (sections 3.1 and 3.2). Clients that authenticate "
    "with client_secret_post, and those without a secret, name themselves in the body."
)

_WORDS: Final[Mapping[str, Schema]] = {
    "response_type": {"const": "code"},
    "code_challenge_method": {"const": CODE_CHALLENGE_METHOD},
}
"""The values that mean something, where the grammar allows more."""

OF_GRANT: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "authorization_code": (("code",), ("redirect_uri", "code_verifier", "resource")),
    "refresh_token": (("refresh_token",), ("scope", "resource")),
}
"""The parameters that each grant needs, and those that it takes."""

_NOTES: Final[Mapping[str, str]] = {
    "authorize.redirect_uri": "needed when several are registered",
    "authorize.code_challenge": "needed, but for confidential clients of the profile openid",
    "authorize.code_challenge_method": "needed with a code_challenge",
    "token.redirect_uri": "needed when it was in the authorization request",
    "token.code_verifier": "needed when there was a code_challenge",
}
"""What a list of required parameters cannot say."""

_OF_CLIENT: Final = ("client_id", "client_secret")
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
    issue.PARAMETERS,
)


def _engine(*errors: str) -> tuple[Check, ...]:
    return tuple(checks.registry[f"engine.{error}"] for error in errors)


_AT_AUTHORIZE: Final = (
    authorize.RESPONSE_TYPE,
    authorization_code.CHALLENGE,
    authorization_code.METHOD,
    authorization_code.OWNER,
    authorization_code.CONSENT,
    issue.TARGET,
    issue.SCOPE,
    *_engine("invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "access_denied"),
)

_AT_TOKEN: Final = (
    *_engine("invalid_request", "invalid_grant", "unauthorized_client", "unsupported_grant_type"),
    authorization_code.ALIVE,
    authorization_code.RESOURCE,
    authorization_code.VERIFIER_SENT,
    authorization_code.NO_STRAY_VERIFIER,
    authorization_code.VERIFIER,
    authorization_code.ONCE,
    refresh_token.ALIVE,
    refresh_token.ONCE,
    refresh_token.SCOPE,
    refresh_token.RESOURCE,
    issue.ALIVE,
)

_DECIDE_ACTIVE: Final = (
    tokens.SIGNATURE,
    tokens.TYPE,
    tokens.ISSUER,
    tokens.EXPIRY,
    introspect.AUDIENCE,
    introspect.REVOKED,
)

_TOO_MANY: Final = html(429, "Too many attempts; Retry-After says how long to wait.", "Retry-After")


def description(settings: Settings, cookie: str) -> Description:
    """Everything but the table of routes; `cookie` names a person's session."""
    return Description(
        "Authorization server",
        _TEXT,
        settings.issuer,
        {**_for_programs(settings), **_authorize(), **_pages()},
        {"Metadata": _metadata(settings), "KeySet": _KEY_SET},
        {**_SECURITY_SCHEMES, "session": {"type": "apiKey", "in": "cookie", "name": cookie}},
    )


def _for_programs(settings: Settings) -> Operations:
    methods = {"x-client-authentication": list(CLIENT_AUTH_METHODS)}
    return {
        ("token", "POST"): Operation(
            "Get tokens for a grant",
            (
                json_answer("Tokens (RFC 6749 section 5.1).", _token_response(settings)),
                *_refusals("token", *_AT_TOKEN),
            ),
            form={"oneOf": [_grant_request(grant.grant_type) for grant in GRANTS]},
            security=_ANY_METHOD,
            extensions=methods,
        ),
        ("introspect", "POST"): Operation(
            "Ask whether a token is good, and what it says",
            (
                Answer(
                    200,
                    "What it says, when it is active and meant for the resource that asks (RFC 7662 section 2.2).",
                    {JSON: {"oneOf": [_active(settings), closed({"active": {"const": False}})]}},
                    checks=_DECIDE_ACTIVE,
                ),
                *_refusals("introspect"),
            ),
            form=_form("introspect", "token"),
            security=_IN_HEADER,
            extensions={"x-client-authentication": ["client_secret_basic"]},
        ),
        ("revoke", "POST"): Operation(
            "End a token; with a refresh token, all that came with it",
            (
                Answer(200, "It is worth nothing, whatever it was before (RFC 7009 section 2.2)."),
                *_refusals("revoke", revoke.OWN),
            ),
            form=_form("revoke", "token"),
            security=_ANY_METHOD,
            extensions=methods,
        ),
        ("jwks", "GET"): Operation(
            "The keys that tokens are signed with",
            (
                Answer(200, "A JWK Set.", {"application/jwk-set+json": ref("KeySet")}, ("ETag",)),
                NOT_MODIFIED,
                unavailable("api"),
            ),
            (IF_NONE_MATCH,),
        ),
        ("metadata", "GET"): Operation(
            "What this server can do, and where",
            (json_answer("Metadata (RFC 8414 section 2).", ref("Metadata")), unavailable("api")),
        ),
    }


def _authorize() -> Operations:
    names = {parameter.name for parameter in BY_ENDPOINT["authorize"]}
    required = ("response_type", "client_id")
    answers = (
        redirect(
            "To sign-in or consent, or to the client with a code or an error, and always with iss (RFC 9207).",
            *_guard("authorize", *names.difference(_TARGET)),
            *_AT_AUTHORIZE,
        ),
        html(
            400,
            "The client or its redirect URI cannot be trusted, or the request waits no longer: the person is told.",
            checks=(authorize.CLIENT, authorize.REDIRECT_URI, *_guard("authorize", *_TARGET, "interaction")),
        ),
        _TOO_MANY,
        unavailable("page"),
    )
    return {
        ("authorize", "GET"): Operation(
            "Ask a person for access",
            answers,
            tuple(_in_query("authorize", parameter.name, *required) for parameter in BY_ENDPOINT["authorize"]),
            security=_SESSION,
        ),
        ("authorize", "POST"): Operation(
            "Ask a person for access, with a form",
            answers,
            (_in_query("authorize", "interaction"),),
            _form("authorize", *required),
        ),
    }


def _pages() -> Operations:
    """What people open and send; every form but that of sign-in is refused without its csrf_token."""
    waiting = {name: (_in_query(name, "interaction"),) for name in ("sign-in", "sign-up", "consent")}
    lost = {name: _guard(name, "interaction") for name in waiting}
    username = string(description="2 to 40 letters, digits, dots, hyphens or underscores.")
    password = string(minLength=MIN_PASSWORD, maxLength=MAX_PASSWORD)
    closed_sign_up = html(403, "Nobody makes an account alone here (SIGN_UP).")
    to_sign_in = redirect("Nobody is signed in: to sign-in.")
    return {
        ("home", "GET"): Operation("The first page", (html(200, "The page."), unavailable("page")), security=_SESSION),
        ("sign-in", "GET"): Operation(
            "Sign in",
            (
                html(200, "The form."),
                redirect("Signed in already: back to where the person was going."),
                html(400, _LOST, checks=lost["sign-in"]),
                unavailable("page"),
            ),
            waiting["sign-in"],
            security=_SESSION,
        ),
        ("sign-in", "POST"): Operation(
            "Sign in",
            (
                redirect("Signed in: back to where the person was going."),
                html(400, _OLD_FORM, checks=lost["sign-in"]),
                html(403, "The name or the password is wrong; which of them is not said."),
                _TOO_MANY,
                unavailable("page"),
            ),
            waiting["sign-in"],
            _fields({"username": string(maxLength=200), "password": string(maxLength=1000)}),
            _SESSION,
        ),
        ("sign-up", "GET"): Operation(
            "Make an account",
            (
                html(200, "The form."),
                html(400, _LOST, checks=lost["sign-up"]),
                closed_sign_up,
                unavailable("page"),
            ),
            waiting["sign-up"],
        ),
        ("sign-up", "POST"): Operation(
            "Make an account",
            (
                redirect("Made, and signed in."),
                html(400, f"{_OLD_FORM} Or the name or the password cannot be taken.", checks=lost["sign-up"]),
                closed_sign_up,
                _TOO_MANY,
                unavailable("page"),
            ),
            waiting["sign-up"],
            _fields({"username": username, "password": password}),
            _SESSION,
        ),
        ("consent", "GET"): Operation(
            "Decide about a request",
            (html(200, "The question."), to_sign_in, html(400, _LOST, checks=lost["consent"]), unavailable("page")),
            waiting["consent"],
            security=_SESSION,
        ),
        ("consent", "POST"): Operation(
            "Decide about a request",
            (
                html(200, "No decision: the question again."),
                redirect("Decided: back to /authorize, which answers the client. Or to sign-in."),
                html(400, _OLD_FORM, checks=lost["consent"]),
                unavailable("page"),
            ),
            waiting["consent"],
            _fields({"decision": string(enum=["allow", "deny"])}),
            _SESSION,
        ),
        ("apps", "GET"): Operation(
            "What apps may do", (html(200, "The apps."), to_sign_in, unavailable("page")), security=_SESSION
        ),
        ("disconnect", "POST"): Operation(
            "Take back what an app may do",
            (redirect("Taken back. Or to sign-in."), html(400, _OLD_FORM), unavailable("page")),
            form=_fields({"client_id": string(maxLength=100)}),
            security=_SESSION,
        ),
        ("sign-out", "GET"): Operation(
            "Sign out", (html(200, "The question."), unavailable("page")), security=_SESSION
        ),
        ("sign-out", "POST"): Operation(
            "Sign out",
            (redirect("Signed out."), html(400, _OLD_FORM), unavailable("page")),
            form=_fields({}),
            security=_SESSION,
        ),
    }


_SESSION: Final[Security] = ({"session": []}, {})
_LOST: Final = "The request that the address names waits no longer."
_OLD_FORM: Final = "The form was opened before the session changed, or its request waits no longer."


def _refusals(endpoint: str, *more: Check) -> tuple[Answer, ...]:
    """The errors of an endpoint that programs call."""
    guard = _guard(endpoint, *(parameter.name for parameter in BY_ENDPOINT[endpoint]))
    return (
        *refusals(*guard, *_BACK_CHANNEL, *more, headers={401: ("WWW-Authenticate",)}),
        json_answer(
            "Too many failed authentications; Retry-After says how long to wait.",
            error_body("temporarily_unavailable"),
            "Retry-After",
            status=429,
        ),
        unavailable("api"),
    )


def _guard(endpoint: str, *names: str) -> tuple[Check, ...]:
    found = [parameter for parameter in BY_ENDPOINT[endpoint] if parameter.name in names]
    return tuple(check for parameter in found for check in (parameter.once, parameter.well_formed))


def _parameter(endpoint: str, name: str) -> Parameter:
    return next(parameter for parameter in BY_ENDPOINT[endpoint] if parameter.name == name)


def _schema(endpoint: str, name: str) -> Schema:
    parameter, note = _parameter(endpoint, name), _NOTES.get(f"{endpoint}.{name}")
    return string(
        description=f"{parameter.clause}; {note}" if note else parameter.clause,
        minLength=1,
        maxLength=parameter.max_length,
        pattern=f"^(?:{parameter.grammar.pattern})$",
        **_WORDS.get(name, {}),
    )


def _in_query(endpoint: str, name: str, *required: str) -> Schema:
    return {"name": name, "in": "query", "required": name in required, "schema": _schema(endpoint, name)}


def _form(endpoint: str, *required: str) -> Schema:
    properties = {parameter.name: _schema(endpoint, parameter.name) for parameter in BY_ENDPOINT[endpoint]}
    return {"type": "object", "properties": properties, "required": list(required)}


def _fields(properties: Mapping[str, Schema]) -> Schema:
    """The fields of a page's own form."""
    with_token = {**properties, "csrf_token": string(description="As it stands in the page.")}
    return {"type": "object", "properties": with_token, "required": list(with_token)}


def _grant_request(grant_type: str) -> Schema:
    required, optional = OF_GRANT.get(grant_type, ((), ()))
    properties = {name: _schema("token", name) for name in (*required, *optional, *_OF_CLIENT)}
    grant = {"grant_type": string(const=grant_type, description=_parameter("token", "grant_type").clause)}
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
            "refresh_token": string(description="For clients that are registered for the grant refresh_token."),
        },
        optional=["refresh_token"],
    )


def _active(settings: Settings) -> Schema:
    return closed(
        {
            "active": {"const": True},
            "iss": {"const": settings.issuer},
            **{name: string() for name in ("sub", "aud", "client_id", "scope", "jti")},
            "iat": _TIME,
            "exp": _TIME,
            "token_type": {"const": "Bearer"},
        }
    )


_KEY_SET: Final[Schema] = closed(
    {
        "keys": {
            "type": "array",
            "minItems": len(SIGNING_ALGORITHMS),
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
                    for kty, algorithm, members in (("EC", "ES256", ("crv", "x", "y")), ("RSA", "RS256", ("n", "e")))
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
            "response_modes_supported": {"const": ["query"]},
            "grant_types_supported": {"const": [grant.grant_type for grant in GRANTS]},
            "code_challenge_methods_supported": {"const": [CODE_CHALLENGE_METHOD]},
            **{f"{endpoint}_endpoint_auth_methods_supported": methods for endpoint in endpoints},
            "authorization_response_iss_parameter_supported": {"const": True},
            "protected_resources": texts,
        }
    )
