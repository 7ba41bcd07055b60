"""Userinfo: what is known of the person, for the bearer of a token with `openid` (OpenID Connect Core section 5.3)."""

from __future__ import annotations

from typing import Any

from flask import Response, g, request
from flask.typing import ResponseReturnValue

from rolecall import audit, checks
from rolecall.errors import NO_STORE, OAuthError, challenge, json_body
from rolecall_auth import parameters
from rolecall_auth.jose import access_tokens
from rolecall_auth.jose.access_tokens import AccessToken
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.user import User
from rolecall_auth.openid import id_tokens, scopes
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
    "The access token is unknown, expired, revoked or not for userinfo.",
    status=401,
)
SCOPE = checks.define(
    "userinfo.scope",
    "OpenID Connect Core section 5.3.1",
    "insufficient_scope",
    "The access token has not the scope openid.",
    status=403,
)


def userinfo() -> ResponseReturnValue:
    """GET or POST /userinfo: JSON, or a JWT for a client that registered `userinfo_signed_response_alg`."""
    try:
        token = _token()
        if token is None:
            # no word of an error to somebody who has sent no token (RFC 6750 section 3.1)
            headers = {**NO_STORE, "WWW-Authenticate": challenge("Bearer", realm="userinfo")}
            return Response("{}", status=401, headers=headers, mimetype="application/json")
        client, claims = _claims(_validated(token))
    except OAuthError as error:
        if error.status in {400, 401, 403} and error.challenge is None:
            told = {"error": error.error, "error_description": error.description}
            error.challenge = challenge("Bearer", realm="userinfo", **told)
            audit.record("access_token_refused", error=error.error, client_id=g.get("client_id"))
        raise
    if client.userinfo_signed_response_alg is None:
        return json_body(claims)
    signed = {**claims, "iss": services().settings.issuer, "aud": client.client_id}
    body = id_tokens.signed(client.userinfo_signed_response_alg, signed)
    return Response(body, headers=NO_STORE, mimetype="application/jwt")


def _token() -> str | None:
    """The one token of the request; never from the address (RFC 6750 section 2.3, RFC 9700 section 4.3.2)."""
    headers = request.headers.getlist("Authorization")
    in_body = parameters.read("userinfo", request.form).get("access_token") if request.method == "POST" else None
    ONE_TOKEN(len(headers) + (in_body is not None) <= 1, expected="one token", otherwise="several")
    if not headers:
        return in_body
    scheme, _, token = headers[0].partition(" ")
    ONE_TOKEN(scheme.lower() == "bearer" and bool(token.strip()), expected="Bearer", actual=scheme[:20])
    return token.strip()


def _validated(token: str) -> AccessToken:
    issuer = services().settings.issuer
    found = access_tokens.read(services().keys, issuer, token)
    good = found is not None and not services().revocations.is_revoked(found.authorization_id, found.token_id)
    ALIVE(good, expected="a living access token", otherwise="none")
    assert found is not None
    g.flow_id, g.client_id = found.authorization_id, found.client_id
    SCOPE("openid" in found.scope.split(), expected="openid", actual=found.scope)
    ALIVE(issuer in found.audience, expected=issuer, actual=" and ".join(found.audience))
    return found


def _claims(token: AccessToken) -> tuple[Client, dict[str, Any]]:
    """The claims of the token's scope, and those that were asked for one by one (section 5.5)."""
    client = services().registry.client(token.client_id)
    with services().database.read() as session:
        authorization = session.get(Authorization, token.authorization_id)
        user = session.get(User, authorization.user_id) if authorization is not None else None
    alive = (
        client is not None
        and authorization is not None
        and user is not None
        and user.disabled_at is None
        and authorization.ended_at is None
    )
    ALIVE(alive, expected="a client and a person that are there", otherwise="gone")
    assert client is not None
    assert authorization is not None
    assert user is not None
    asked = set((authorization.requested_claims or {}).get("userinfo", ()))
    names = {name for scope in scopes.of_person(token.scope) for name in scopes.CLAIMS.get(scope, ())}
    names |= id_tokens.names_for(client, asked)
    if client.subject_type == "pairwise":
        with services().database.transaction() as session:
            subject = id_tokens.subject_of(session, client, user.id)
    else:
        subject = user.id
    return client, {"sub": subject, **id_tokens.about(user, names)}
