"""Token introspection (RFC 7662): an authenticated resource can introspect the tokens that were issued for it."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.typing import ResponseReturnValue

from rolecall import checks, events
from rolecall.errors import json_body
from rolecall.vocabulary import CLIENT, SUBJECT_KIND
from rolecall_auth.clients.authentication import (
    AUTHENTICATED,
    Credentials,
    authentication_failed,
    read_back_channel,
)
from rolecall_auth.jose.access_tokens import AccessToken
from rolecall_auth.models import authorization as authorizations
from rolecall_auth.models.resource import Resource
from rolecall_auth.openid import approval, id_tokens, scopes
from rolecall_auth.parameters import REQUIRED
from rolecall_auth.services import services

AUDIENCE = checks.define(
    "introspect.audience", "RFC 7662 section 4", "invalid_token", "The token was issued for another resource."
)
REVOKED = checks.define("introspect.revoked", "RFC 7662 section 4", "invalid_token", "The token was revoked.")


def introspect() -> ResponseReturnValue:
    """POST /introspect: return the claims of a token that is active for this resource, else only `active: false`."""
    clean, credentials = read_back_channel("introspect")
    resource = _authenticate_resource(credentials)
    REQUIRED("token" in clean, expected="token", actual=sorted(clean))
    issuer = services().settings.issuer
    token = services().access_tokens.read(clean["token"])
    if token is None:
        return json_body({"active": False})
    g.flow_id = token.authorization_id
    in_audience = resource.identifier in token.audience
    AUDIENCE.note(in_audience, expected=resource.identifier, actual=" and ".join(token.audience))
    if not in_audience:
        return json_body({"active": False})
    client = services().registry.client(token.client_id)
    scope = scopes.narrow(client, token.scope) if client is not None else ""
    if not scope:
        return json_body({"active": False})
    revoked = services().revocations.is_revoked(token.authorization_id, token.token_id)
    REVOKED.note(not revoked, expected="not revoked", actual="revoked" if revoked else "not revoked")
    if revoked:
        return json_body({"active": False})
    return json_body(
        {
            **_custom_claims(token, scope),
            "active": True,
            "iss": issuer,
            "sub": token.subject,
            "aud": token.audience if len(token.audience) > 1 else token.audience[0],
            "client_id": token.client_id,
            "scope": scope,
            "iat": token.issued_at,
            "exp": token.expires_at,
            "jti": token.token_id,
            "token_type": "Bearer",
            **({} if token.has_person else {SUBJECT_KIND: CLIENT}),
        }
    )


def _custom_claims(token: AccessToken, scope: str) -> dict[str, Any]:
    """Return the person's current claims that are released by the claim scopes in the scope (RFC 7662 section 2.2)."""
    if not scopes.custom_claims_of(scope):
        return {}
    with services().database.connect() as connection:
        found = authorizations.with_user(connection, token.authorization_id)
    if found is None:
        return {}
    authorization, user = found
    return id_tokens.user_claims(user, approval.custom_claims(authorization, scope))


def _authenticate_resource(credentials: Credentials) -> Resource:
    """Authenticate a protected resource with Basic, by its id and secret (RFC 7662 section 2.1)."""
    resources = services().registry.resources()
    resource = next((each for each in resources if each.resource_id == credentials.client_id), None)
    if resource is not None:
        events.note("identity", value=resource.resource_id)
    if resource is None:
        raise authentication_failed(credentials, "unknown resource")
    if credentials.method != "client_secret_basic" or not resource.check_secret(credentials.secret):
        raise authentication_failed(credentials, "wrong secret, or not Basic")
    AUTHENTICATED.note(True, expected="a protected resource", actual=resource.resource_id)
    return resource
