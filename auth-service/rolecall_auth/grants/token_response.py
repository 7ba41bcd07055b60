"""The last step of each grant: claim the authorization, issue its tokens, and build the token response."""

from __future__ import annotations

from typing import Any

from flask import g
from sqlalchemy import Connection

from rolecall import audit, checks, clock, events
from rolecall_auth.jose import access_tokens
from rolecall_auth.models import authorization as authorizations
from rolecall_auth.models import subject as subjects
from rolecall_auth.models import token as refresh_tokens
from rolecall_auth.models.authorization import AuthorizationRecord
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.user import UserRecord
from rolecall_auth.openid import approval, id_tokens, scopes
from rolecall_auth.services import services

ALIVE = checks.define("token.authorization", "RFC 6749 section 5.2", "invalid_grant", "The authorization has ended.")


class HasTokens(Exception):
    """The authorization has tokens already, so its code was used before."""


def issue(authorization_id: str, resource: Resource, client: Client, nonce: str | None) -> dict[str, Any]:
    """Issue the first tokens of an authorization and return the token response (RFC 6749 section 5.1).

    Args:
        resource: the resource of the authorization.

    Raises:
        HasTokens: these would not be the first tokens; the database is unchanged.
        OAuthError: invalid_grant, if the authorization has ended, or if the client is no longer registered for any of
            its scope.
    """
    settings = services().settings
    # a database failure while keys are read must not use up the code
    services().keys.signing(resource.access_token_signing_alg, token_lifetime(resource))
    refresh_token = None
    with services().database.begin() as connection:
        authorization, user, subject = claim(connection, authorization_id, resource, client, first=True)
        scope = scopes.narrow(client, authorization.scope)
        ALIVE(bool(scope), expected="a scope that the client is registered for", otherwise="none")
        is_approved = authorization.approved is None or authorization.approved["refreshable"]
        if is_approved and approval.may_be_refreshed(client, authorization.scope):
            refresh_token = refresh_tokens.add(
                connection,
                authorization_id,
                idle=settings.refresh_idle_lifetime,
                family_expires_at=clock.now() + settings.refresh_lifetime,
            )
    events.note("state", store="sql", key=f"authorization:{authorization_id[:6]}…", change="tokens given")
    return token_response(client, authorization, resource, scope, subject, user, refresh_token, nonce)


def claim(
    connection: Connection, authorization_id: str, resource: Resource, client: Client, *, first: bool = False
) -> tuple[AuthorizationRecord, UserRecord, str]:
    """Claim the authorization for tokens of the current format and lifetime; see `authorization.claim`.

    Args:
        resource: the resource of the authorization.
        first: whether these must be the first tokens.

    Returns:
        The authorization, the person, and the `sub` by which the client knows the person in this authorization.

    Raises:
        HasTokens: these would not be the first tokens.
        OAuthError: invalid_grant, if the authorization has ended, or its user or client is disabled.
    """
    found = authorizations.claim(
        connection, authorization_id, access_tokens.FORMAT, token_lifetime(resource), first=first
    )
    if found is None and first and authorizations.used(connection, authorization_id) is not None:
        raise HasTokens
    authorization, user = ALIVE.require(found, expected="an active authorization", otherwise="no active authorization")
    subject = subjects.find_or_create(connection, approval.sector(client, authorization), user.id)
    return authorization, user, subject


def token_response(
    client: Client,
    authorization: AuthorizationRecord,
    resource: Resource,
    scope: str,
    subject: str,
    user: UserRecord | None = None,
    refresh_token: str | None = None,
    nonce: str | None = None,
) -> dict[str, Any]:
    """Return the members of a token response, with a new access token.

    The response always contains the scope. With `openid`, it also contains an ID token (OpenID Connect Core section
    3.1.3.3), even after a refresh (OpenID Connect Core sections 12.1 and 12.2). The access token has the same `sub` as
    the ID token, because clients can read their access tokens (section 8.1). Both tokens contain the claims of the
    scope's claim scopes, for software that reads nothing else.

    Args:
        resource: the resource of the authorization. The caller has recorded its token lifetime.
        scope: the scope of the access token: that of the authorization, or less.
        subject: the `sub`: that of the client if the authorization has no person (RFC 9068 section 2.2).
        user: the person, if the authorization has one.
    """
    settings = services().settings
    custom_claims = approval.custom_claims(authorization, scope)
    access_token, lifetime = access_tokens.mint(
        services().keys,
        settings.issuer,
        resource,
        token_lifetime(resource),
        authorization,
        scope,
        subject=subject,
        user_claims=id_tokens.user_claims(user, custom_claims) if user is not None else {},
    )
    audit.record("tokens_issued", client_id=g.client_id)
    body: dict[str, Any] = {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": scope,
    }
    if refresh_token is not None:
        body["refresh_token"] = refresh_token
    if user is not None and "openid" in scope.split():
        standard_claims = scopes.standard_claims_of(scope) if client.claims_in_id_token else set()
        requested_claims = approval.released_claims(client, authorization, "id_token")
        body["id_token"] = id_tokens.mint(
            client,
            authorization,
            user,
            subject=subject,
            released_claims=standard_claims | custom_claims | requested_claims,
            access_token=access_token,
            nonce=nonce,
        )
    return body


def token_lifetime(resource: Resource) -> int:
    """Return the lifetime in seconds of the resource's access tokens."""
    return resource.access_token_lifetime or services().settings.access_token_lifetime
