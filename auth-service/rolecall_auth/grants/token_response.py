"""The last step that no grant can skip: an authorization is stored, and its tokens are made."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import g
from sqlalchemy.orm import Session

from rolecall import audit, checks, clock, events
from rolecall_auth.jose import access_tokens
from rolecall_auth.models import token as refresh_tokens
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.user import User
from rolecall_auth.openid import id_tokens, scopes
from rolecall_auth.services import services

ALIVE = checks.define("token.authorization", "RFC 6749 section 5.2", "invalid_grant", "The authorization has ended.")
PARAMETERS = checks.define(
    "token.parameters", "RFC 6749 section 5.2", "invalid_request", "A required parameter is missing."
)


def issue(authorization_id: str, client: Client, nonce: str | None) -> dict[str, Any]:
    """The first tokens of an authorization, as a token response (RFC 6749 section 5.1).

    A client that signs people in gets a refresh token when they allowed `offline_access` (OpenID Connect Core 11),
    any other when it is registered for them.

    Raises:
        OAuthError: invalid_grant, when it ended before its first token, or had it already.
    """
    settings = services().settings
    refresh_token = None
    with services().database.transaction() as session:
        authorization = claim(session, authorization_id, Authorization.used_at.is_(None))
        about_person = scopes.of_person(authorization.scope)
        if client.check_grant_type("refresh_token") and (not about_person or "offline_access" in about_person):
            refresh_token = refresh_tokens.add(
                session,
                authorization_id,
                idle=settings.refresh_idle_lifetime,
                family_expires_at=clock.now() + settings.refresh_lifetime,
            )
    events.note("state", store="sql", key=f"authorization:{authorization_id[:6]}…", change="tokens given")
    return response(client, authorization, authorization.scope, refresh_token, nonce)


def claim(session: Session, authorization_id: str, *further: sa.ColumnElement[bool]) -> Authorization:
    """The authorization, locked and marked as used, when it is alive and its owner and client are not disabled.

    What ends it waits until the tokens stand.

    Raises:
        OAuthError: invalid_grant.
    """
    alive = session.execute(
        sa.update(Authorization)
        .where(
            Authorization.id == authorization_id,
            Authorization.ended_at.is_(None),
            *further,
            sa.exists().where(User.id == Authorization.user_id, User.disabled_at.is_(None)),
            sa.exists().where(Client.client_id == Authorization.client_id, Client.disabled_at.is_(None)),
        )
        .values(used_at=clock.now())
    )
    ALIVE(alive.rowcount == 1, expected="an authorization that goes on", otherwise="one that ended or never was")  # type: ignore[attr-defined]
    return session.get_one(Authorization, authorization_id)


def response(
    client: Client, authorization: Authorization, scope: str, refresh_token: str | None, nonce: str | None = None
) -> dict[str, Any]:
    """The members of a token response, with a new access token of all or less of the authorization's scope.

    The scope is always said. With `openid` there is an ID token (OpenID Connect Core sections 3.1.3.3, 12.1 and 12.2).
    A client can read its access tokens, so their `sub` is the one that it knows the person by (section 8.1).
    """
    settings = services().settings
    user, subject = None, None
    if "openid" in scope.split() or client.subject_type == "pairwise":
        user, subject = _person(client, authorization)
    access_token = access_tokens.mint(
        services().keys, settings.issuer, settings.access_token_lifetime, authorization, scope, subject
    )
    audit.record("tokens_issued", client_id=g.client_id)
    body: dict[str, Any] = {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": settings.access_token_lifetime,
        "scope": scope,
    }
    if refresh_token is not None:
        body["refresh_token"] = refresh_token
    if user is not None and subject is not None and "openid" in scope.split():
        body["id_token"] = id_tokens.mint(client, authorization, user, subject, access_token, nonce)
    return body


def _person(client: Client, authorization: Authorization) -> tuple[User, str]:
    """The account, and the `sub` that the client knows it by."""
    if client.subject_type != "pairwise":
        with services().database.read() as session:
            return session.get_one(User, authorization.user_id), authorization.user_id
    with services().database.transaction() as session:
        user = session.get_one(User, authorization.user_id)
        return user, id_tokens.subject_of(session, client, user.id)
