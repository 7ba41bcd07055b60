"""The refresh token grant (RFC 6749 section 6), with rotation and replay detection (RFC 9700 section 4.14.2)."""

from __future__ import annotations

from typing import Any, Final

from authlib.oauth2.rfc6749 import grants
from flask import g

from rolecall import audit, checks, clock, events
from rolecall.vocabulary import CLIENT_AUTH_METHODS
from rolecall_auth.grants.request import OAuth2Request, authenticated_client
from rolecall_auth.grants.token_response import claim, token_response
from rolecall_auth.models import token as refresh_tokens
from rolecall_auth.models.authorization import AuthorizationRecord
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import normal_scope
from rolecall_auth.models.registry import is_same_resource
from rolecall_auth.models.token import RefreshTokenRecord
from rolecall_auth.openid import scopes
from rolecall_auth.parameters import REQUIRED
from rolecall_auth.services import services

ALIVE = checks.define(
    "token.refresh_token",
    "RFC 6749 section 6",
    "invalid_grant",
    "The refresh token is unknown, expired, revoked, or was issued to another client.",
)
ONCE = checks.define(
    "token.refresh_token_once",
    "RFC 9700 section 4.14.2",
    "invalid_grant",
    "The refresh token was already used. Its authorization has ended.",
)
SCOPE = checks.define(
    "token.refresh_scope",
    "RFC 6749 section 6",
    "invalid_scope",
    "The scope exceeds the scope that the resource owner allowed.",
)
RESOURCE = checks.define(
    "token.refresh_resource",
    "RFC 8707 section 2.2",
    "invalid_target",
    "The resource owner did not allow this resource.",
)

TOKEN_CHECKS: Final = (ALIVE, ONCE, SCOPE, RESOURCE)
"""The checks of a token request."""


class RefreshGrant(grants.RefreshTokenGrant):
    """The grant: Authlib authenticates the client; this class implements token families."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTH_METHODS

    request: OAuth2Request

    def validate_token_request(self) -> None:
        """Validate the client, token, authorization, scope, and resource, without changing anything."""
        client = self.request.client = authenticated_client(self)
        parameters = self.request.form
        REQUIRED("refresh_token" in parameters, expected="refresh_token", actual=sorted(parameters))
        row, authorization = ALIVE.require(
            _find(client, parameters["refresh_token"]),
            expected="an active token of this client",
            otherwise="no active token of this client",
        )
        g.flow_id = authorization.id
        # scopes that have been removed from the client's registration are no longer granted
        granted = scopes.narrow(client, authorization.scope)
        values = scopes.values_of(parameters.get("scope", granted))
        more = values - {*granted.split()}
        description = scopes.unknown_scope(more, granted.split()) if more else None
        SCOPE(bool(values) and not more, expected=granted, actual=" ".join(sorted(values)), description=description)
        resource = parameters.get("resource", authorization.resource)
        is_same = is_same_resource(resource, authorization.resource)
        RESOURCE(is_same, expected=authorization.resource, actual=resource)
        self.request.refresh_token = row
        self.request.authorization = authorization
        self.request.scope = normal_scope(" ".join(values))

    def create_token_response(self) -> Any:
        """Rotate the token, or return the same successor within the grace period.

        Any other reuse is a replay and ends the authorization. `scope` only narrows the access token; the family keeps
        the scope that the resource owner allowed.
        """
        token, row = self.request.form["refresh_token"], self.request.refresh_token
        authorization, settings = self.request.authorization, services().settings
        audience = services().registry.audience(authorization.resource)
        with services().database.begin() as connection:
            successor = refresh_tokens.rotate(
                connection, token, row, authorization.id, idle=settings.refresh_idle_lifetime
            )
            change = "rotated"
            if successor is None:
                successor = refresh_tokens.successor_in_grace(connection, token, self.request.client.refresh_grace)
                change = "same successor, within the grace"
            if successor is not None:
                authorization, user, subject = claim(connection, authorization.id, audience, self.request.client)
        if successor is None:
            services().revocations.end_record("refresh token replayed", authorization)
            audit.record("refresh_token_replayed", client_id=authorization.client_id)
            raise ONCE.refusal(expected="first use", actual="used before")
        ONCE.note(True, expected="first use, or within the grace period", actual=change)
        events.note("state", store="sql", key=f"refresh_token:{row.token_hash[:8]}…", change=change)
        body = token_response(
            self.request.client, authorization, audience, self.request.scope, subject, user, successor
        )
        return 200, body, self.TOKEN_RESPONSE_HEADER


def _find(client: Client, token: str) -> tuple[RefreshTokenRecord, AuthorizationRecord] | None:
    with services().database.connect() as connection:
        found = refresh_tokens.find(connection, token)
    if found is None:
        return None
    row, authorization = found
    is_active = authorization.ended_at is None and clock.now() < row.expires_at
    return found if is_active and authorization.client_id == client.client_id else None
