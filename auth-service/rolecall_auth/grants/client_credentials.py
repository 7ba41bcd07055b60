"""The client credentials grant (RFC 6749 section 4.4): a client gets a token on its own behalf, without a person."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import UnauthorizedClientError, grants
from flask import g

from rolecall import audit, checks, events
from rolecall.errors import unavailable
from rolecall.vocabulary import CLIENT_AUTH_METHODS
from rolecall_auth.grants.request import OAuth2Request, authenticated_client
from rolecall_auth.grants.token_response import token_lifetime, token_response
from rolecall_auth.jose import access_tokens
from rolecall_auth.models import authorization as authorizations
from rolecall_auth.models import new_id
from rolecall_auth.models.authorization import AuthorizationRecord, standing_key
from rolecall_auth.models.client import Client, hold_active
from rolecall_auth.models.resource import Resource
from rolecall_auth.openid import scopes
from rolecall_auth.services import services

SCOPE = checks.define(
    "token.client_scope",
    "RFC 6749 section 4.4.2",
    "invalid_scope",
    "The scope exceeds what the client may request for itself. OpenID Connect scopes require a user.",
)

TOKEN_CHECKS: Final = (SCOPE, scopes.TARGET, scopes.SCOPE)
"""The checks of a token request."""

_ATTEMPTS: Final = 3
"""Maximum number of attempts to find or create the authorization. The first can fail because of a concurrent
request."""


class ClientCredentialsGrant(grants.ClientCredentialsGrant):
    """The grant: Authlib authenticates the client; this class finds its authorization and issues the access token.

    The response contains no refresh token (section 4.4.3), because the client can repeat the request.
    """

    TOKEN_ENDPOINT_AUTH_METHODS = tuple(method for method in CLIENT_AUTH_METHODS if method != "none")

    request: OAuth2Request

    def validate_token_request(self) -> None:
        """Validate the client, scope, and resource, without changing anything.

        Without `scope`, the client requests every scope that it may have on its own behalf at the resource: the named
        one or, if the request does not name one, the only one.
        """
        client = self.request.client = authenticated_client(self)
        personal = scopes.requires_person()
        allowed = {*client.scope.split()} & scopes.scopes_of_apis() - personal
        requested = {*self.request.form["scope"].split()} if "scope" in self.request.form else allowed
        SCOPE(
            bool(requested) and requested <= allowed,
            expected=" ".join(sorted(allowed)) or "no scope",
            actual=" ".join(sorted(requested)) or "no scope",
            description=_fault(requested - allowed, allowed, personal),
        )
        self.request.scope, self.request.resource = scopes.narrowed(
            requested, self.request.form.get("resource"), allowed
        )

    def create_token_response(self) -> Any:
        """Issue an access token from the client's standing authorization."""
        client, resource, scope = self.request.client, self.request.resource, self.request.scope
        authorization = _standing_authorization(client, resource, scope)
        g.flow_id = authorization.id
        return 200, token_response(client, authorization, resource, scope, client.subject), self.TOKEN_RESPONSE_HEADER


def _fault(unknown: set[str], allowed: set[str], personal: set[str]) -> str | None:
    if not unknown:
        return None
    reason = " OpenID Connect scopes require a user." if unknown & personal else ""
    return scopes.unknown_scope(unknown, allowed) + reason


def _standing_authorization(client: Client, resource: Resource, scope: str) -> AuthorizationRecord:
    """Return the client's active authorization for this resource and scope; create it if it does not exist.

    Once it exists, issuing a token does not write to SQL. The authorization does not record its last use, and ends only
    with the client. An ended authorization has no `standing_key`, so it is never found again.

    Raises:
        UnauthorizedClientError: the client has been disabled.
        OAuthError: temporarily_unavailable, if it was created and ended several times in between.
    """
    key = standing_key(client.client_id, resource.identifier, scope)
    for _ in range(_ATTEMPTS):
        with services().database.connect() as connection:
            found = authorizations.standing(connection, key)
        if found is not None and _has_token_lifetime(found, resource):
            return found
        # another request may create it at the same time, which the unique key prevents
        with suppress(sa.exc.IntegrityError):
            return _create(client, resource, scope, key)
    raise unavailable("the authorization of the client was ended again and again")


def _has_token_lifetime(authorization: AuthorizationRecord, resource: Resource) -> bool:
    """Record the current token lifetime if it is longer than the recorded one, as after a change of the setting.

    Return False if the authorization has ended: its revocation is kept only for the lifetime that was recorded then.
    """
    lifetime = token_lifetime(resource)
    if (authorization.token_lifetime or 0) >= lifetime:
        return True
    with services().database.begin() as connection:
        return authorizations.extend(connection, authorization.id, access_tokens.FORMAT, lifetime)


def _create(client: Client, resource: Resource, scope: str, key: str) -> AuthorizationRecord:
    authorization_id = new_id()
    values = {
        "id": authorization_id,
        "client_id": client.client_id,
        "resource": resource.identifier,
        "scope": scope,
        "resources": {resource.identifier: scope},
        "token_format": access_tokens.FORMAT,
        "token_lifetime": token_lifetime(resource),
        "standing_key": key,
    }
    with services().database.begin() as connection:
        # locked, so that a concurrent `disable-client` waits, and then ends this authorization
        if not hold_active(connection, client.client_id):
            raise UnauthorizedClientError
        authorizations.store(connection, values)
        authorization = authorizations.standing(connection, key)
        assert authorization is not None
    events.note("state", store="sql", key=f"authorization:{authorization_id[:6]}…", change="created for the client")
    audit.record("client_authorized", client_id=client.client_id, scope=scope)
    return authorization
