"""The last step that no grant can skip: an authorization is stored, and its tokens are made."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import g
from sqlalchemy.orm import Session

from auth_service import tokens
from auth_service.models import token as refresh_tokens
from auth_service.models.authorization import Authorization
from auth_service.models.client import Client
from auth_service.models.resource import Resource
from auth_service.models.user import User
from auth_service.state import state
from rolecall import audit, checks, clock, events

TARGET = checks.define(
    "authorize.resource", "RFC 8707 section 2", "invalid_target", "There is no such resource, or name one: several fit."
)
SCOPE = checks.define(
    "authorize.scope", "RFC 6749 section 3.3", "invalid_scope", "The scope is more than the resource or the client has."
)
ALIVE = checks.define("token.authorization", "RFC 6749 section 5.2", "invalid_grant", "The authorization has ended.")
PARAMETERS = checks.define(
    "token.parameters", "RFC 6749 section 5.2", "invalid_request", "A required parameter is missing."
)


def resource_of_request(request: Any) -> Resource:
    """The one resource that the tokens are for: the named one, or the only one that has all of the scope.

    Raises:
        OAuthError: invalid_target or invalid_scope.
    """
    wanted = set((request.scope or "").split())
    identifier = request.payload.data.get("resource")
    registry = state().registry
    if identifier is not None:
        named = registry.resource(identifier)
        TARGET(named is not None, expected="a known resource", actual=identifier)
        candidates = [] if named is None else [named]
    else:
        candidates = [resource for resource in registry.resources() if wanted <= set(resource.scopes)]
        TARGET(len(candidates) <= 1, expected="one resource that has the scope", actual=len(candidates))
    fitting = bool(wanted) and bool(candidates) and wanted <= set(candidates[0].scopes)
    SCOPE(fitting, expected="scopes of one resource", actual=" ".join(sorted(wanted)))
    return candidates[0]


def issue(authorization_id: str, *, with_refresh_token: bool) -> dict[str, Any]:
    """The first tokens of an authorization, as a token response (RFC 6749 section 5.1).

    Raises:
        OAuthError: invalid_grant, when it ended before its first token, or had it already.
    """
    settings = state().settings
    refresh_token = None
    with state().database.transaction() as session:
        authorization = claim(session, authorization_id, Authorization.used_at.is_(None))
        if with_refresh_token:
            refresh_token = refresh_tokens.add(
                session,
                authorization_id,
                idle=settings.refresh_idle_lifetime,
                family_expires_at=clock.now() + settings.refresh_lifetime,
            )
    events.note("state", store="sql", key=f"authorization:{authorization_id[:6]}…", change="tokens given")
    access_token = mint(authorization, authorization.scope)
    return response(access_token, authorization.scope, refresh_token)


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


def mint(authorization: Authorization, scope: str) -> str:
    """An access token of the authorization, with all or less of its scope."""
    settings = state().settings
    return tokens.mint(state().keys, settings.issuer, settings.access_token_lifetime, authorization, scope)


def response(access_token: str, scope: str, refresh_token: str | None) -> dict[str, Any]:
    """The members of a token response; the scope is always said."""
    audit.record("tokens_issued", client_id=g.client_id)
    body: dict[str, Any] = {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": state().settings.access_token_lifetime,
        "scope": scope,
    }
    if refresh_token is not None:
        body["refresh_token"] = refresh_token
    return body
