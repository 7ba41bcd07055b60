"""The UserInfo endpoint: claims about the user, for access tokens with `openid` (OpenID Connect Core section 5.3)."""

from __future__ import annotations

from typing import Any

from flask import Response, g, request
from flask.typing import ResponseReturnValue

from rolecall import audit, authorization_header, checks
from rolecall.errors import NO_STORE, OAuthError, challenge, json_body
from rolecall_auth import parameters
from rolecall_auth.jose.access_tokens import AccessToken
from rolecall_auth.models import authorization as authorizations
from rolecall_auth.models import subject as subjects
from rolecall_auth.models.client import Client
from rolecall_auth.openid import approval, id_tokens, scopes
from rolecall_auth.services import services

ONE_TOKEN = checks.define(
    "userinfo.one_token",
    "RFC 6750 section 2",
    "invalid_request",
    "Send the access token once: in the Authorization header, or in the body of a POST.",
)
ALIVE = checks.define(
    "userinfo.token",
    "RFC 6750 section 3.1",
    "invalid_token",
    "The access token is unknown, expired, revoked, or not valid for the UserInfo endpoint.",
    status=401,
)
SCOPE = checks.define(
    "userinfo.scope",
    "OpenID Connect Core section 5.3.1",
    "insufficient_scope",
    "The access token lacks the scope openid.",
    status=403,
)


def userinfo() -> ResponseReturnValue:
    """GET or POST /userinfo: return JSON, or a JWT for a client with `userinfo_signed_response_alg`."""
    try:
        token = _token()
        if token is None:
            # a request without a token, or with another scheme, gets no error code (RFC 6750 section 3.1)
            headers = {**NO_STORE, "WWW-Authenticate": challenge("Bearer", realm="userinfo")}
            return Response("{}", status=401, headers=headers, mimetype="application/json")
        client, claims = _claims(_validate(token))
    except OAuthError as error:
        if error.status in {400, 401, 403} and error.challenge is None:
            error.challenge = challenge(
                "Bearer", realm="userinfo", error=error.error, error_description=error.description
            )
            audit.record("access_token_refused", error=error.error, client_id=g.get("client_id"))
        raise
    if client.userinfo_signed_response_alg is None:
        return json_body(claims)
    jwt_claims = {**claims, "iss": services().settings.issuer, "aud": client.client_id}
    body = id_tokens.sign(client.userinfo_signed_response_alg, jwt_claims)
    return Response(body, headers=NO_STORE, mimetype="application/jwt")


def _token() -> str | None:
    """Return the token of the request; one in the URL is ignored (RFC 6750 section 2.3, RFC 9700 section 4.3.2)."""
    headers = authorization_header.parse_all(request.headers)
    in_body = parameters.read("userinfo", request.form).get("access_token") if request.method == "POST" else None
    in_header = headers[0].bearer_token if headers else None
    is_one = len(headers) + (in_body is not None) <= 1 and in_header != ""
    ONE_TOKEN(is_one, expected="one token", otherwise="several, or an empty one")
    if in_body is not None:
        ONE_TOKEN(
            request.mimetype == "application/x-www-form-urlencoded",
            expected="application/x-www-form-urlencoded",
            actual=request.mimetype[:60],
            description="Send an access token in the body as application/x-www-form-urlencoded.",
        )
        return in_body
    return in_header


def _validate(token: str) -> AccessToken:
    issuer = services().settings.issuer
    found = services().access_tokens.read(token)
    if found is not None and services().revocations.is_revoked(found.authorization_id, found.token_id):
        found = None
    access_token = ALIVE.require(found, expected="an active access token", otherwise="no active access token")
    g.flow_id, g.client_id = access_token.authorization_id, access_token.client_id
    SCOPE("openid" in access_token.scope.split(), expected="openid", actual=access_token.scope)
    ALIVE(issuer in access_token.audience, expected=issuer, actual=" and ".join(access_token.audience))
    return access_token


def _claims(token: AccessToken) -> tuple[Client, dict[str, Any]]:
    """Return the client, and the claims of the token's scope and of the `claims` parameter (section 5.5)."""
    client = services().registry.client(token.client_id)
    with services().database.connect() as connection:
        found = authorizations.with_user(connection, token.authorization_id) if client is not None else None
        sector = approval.sector(client, found[0]) if client is not None and found is not None else None
        subject = subjects.find(connection, sector, found[1].id) if found is not None else None
    client, (authorization, user) = ALIVE.require(
        (client, found) if client is not None and found is not None else None,
        expected="an active client, user, and authorization",
        otherwise="one that has ended",
    )
    identity = scopes.identity_scopes(scopes.narrow(client, token.scope))
    SCOPE(bool(identity), expected="openid", otherwise="no scope that the client is still registered for")
    scope = " ".join(identity)
    names = scopes.standard_claims_of(scope) | approval.custom_claims(authorization, scope)
    names |= approval.released_claims(client, authorization, "userinfo")
    if subject is None:  # the authorization is older than the sector
        with services().database.begin() as connection:
            subject = subjects.find_or_create(connection, sector, user.id)
    return client, {**id_tokens.user_claims(user, names), "sub": subject}
