"""The refresh token grant (RFC 6749 section 6): rotation in a family, a replay ends it (RFC 9700 section 4.14.2)."""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749 import grants
from flask import g

from rolecall import audit, checks, clock, events
from rolecall.storage import digest
from rolecall.vocabulary import CLIENT_AUTH_METHODS
from rolecall_auth.grants.token_response import PARAMETERS, claim, response
from rolecall_auth.models import token as refresh_tokens
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.consent import normal_scope
from rolecall_auth.models.token import RefreshToken
from rolecall_auth.services import services

ALIVE = checks.define(
    "token.refresh_token",
    "RFC 6749 section 6",
    "invalid_grant",
    "The refresh token is unknown, expired, revoked or not for this client.",
)
ONCE = checks.define(
    "token.refresh_token_once",
    "RFC 9700 section 4.14.2",
    "invalid_grant",
    "The refresh token was used before; the authorization has ended.",
)
SCOPE = checks.define(
    "token.refresh_scope", "RFC 6749 section 6", "invalid_scope", "The scope is more than the owner allowed."
)
RESOURCE = checks.define(
    "token.refresh_resource", "RFC 8707 section 2.2", "invalid_target", "The owner did not allow this resource."
)


class RefreshGrant(grants.RefreshTokenGrant):
    """Authlib authenticates the client; the family's rules are ours."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTH_METHODS

    def validate_token_request(self) -> None:
        """Client, token, authorization, scope and resource; changes nothing."""
        client = self.request.client = self._validate_request_client()
        parameters = self.request.form
        PARAMETERS("refresh_token" in parameters, expected="refresh_token", actual=sorted(parameters))
        with services().database.read() as session:
            row = session.get(RefreshToken, digest(parameters["refresh_token"]))
            authorization = session.get(Authorization, row.authorization_id) if row else None
        alive = (
            row is not None
            and authorization is not None
            and authorization.client_id == client.client_id
            and authorization.ended_at is None
            and clock.now() < row.expires_at
        )
        ALIVE(alive, expected="a living token of this client", actual="one" if alive else "none")
        assert authorization is not None
        g.flow_id = authorization.id
        # what was taken out of the client's registration meanwhile is not given any more
        granted = " ".join(each for each in authorization.scope.split() if client.get_allowed_scope(each))
        wanted = parameters.get("scope", granted)
        SCOPE({*wanted.split()} <= {*granted.split()} and bool(wanted), expected=granted, actual=wanted)
        resource = parameters.get("resource", authorization.resource)
        RESOURCE(resource == authorization.resource, expected=authorization.resource, actual=resource)
        self.request.refresh_token = row
        self.request.authorization = authorization
        self.request.scope = normal_scope(wanted)

    def create_token_response(self) -> Any:
        """Rotate, or give the same successor within the grace; anything else is a replay and ends the authorization.

        Only the access token is narrowed by `scope`: the family keeps what the owner allowed.
        """
        token, row = self.request.form["refresh_token"], self.request.refresh_token
        authorization, settings = self.request.authorization, services().settings
        with services().database.transaction() as session:
            successor = refresh_tokens.rotate(session, token, row, idle=settings.refresh_idle_lifetime)
            change = "rotated"
            if successor is None:
                successor = refresh_tokens.successor_in_grace(session, token, self.request.client.refresh_grace)
                change = "same successor, within the grace"
            if successor is not None:
                claim(session, authorization.id)
        if successor is None:
            services().revocations.end("refresh token replayed", Authorization.id == authorization.id)
            audit.record("refresh_token_replayed", client_id=authorization.client_id)
            ONCE(False, expected="first use", actual="used before", detail="a refresh token was replayed")
            raise AssertionError
        ONCE.note(True, expected="first use, or within the grace", actual=change)
        events.note("state", store="sql", key=f"refresh_token:{row.token_hash[:8]}…", change=change)
        given = response(self.request.client, authorization, self.request.scope, successor)
        return 200, given, self.TOKEN_RESPONSE_HEADER
