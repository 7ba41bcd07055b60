"""Token revocation (RFC 7009): an access token alone, or with a refresh token everything that came with it."""

from __future__ import annotations

from flask import Response, g
from flask.typing import ResponseReturnValue

from rolecall import audit, checks
from rolecall.errors import NO_STORE
from rolecall.storage import digest
from rolecall_auth.clients.authentication import authenticate_client, read_back_channel
from rolecall_auth.grants.token_response import PARAMETERS
from rolecall_auth.jose import access_tokens
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.token import RefreshToken
from rolecall_auth.services import services

OWN = checks.define(
    "revoke.own_token", "RFC 7009 section 2.1", "invalid_grant", "The token was issued to another client."
)


def revoke() -> ResponseReturnValue:
    """POST /revoke: 200 for what is revoked, and for what was none (RFC 7009 section 2.2). The hint is not needed."""
    clean, credentials = read_back_channel("revoke")
    client = authenticate_client(credentials)
    PARAMETERS("token" in clean, expected="token", actual=sorted(clean))
    if not _revoke_refresh_token(client, clean["token"]):
        _revoke_access_token(client, clean["token"])
    return Response(status=200, headers=NO_STORE)


def _revoke_refresh_token(client: Client, token: str) -> bool:
    with services().database.read() as session:
        row = session.get(RefreshToken, digest(token))
        authorization = session.get(Authorization, row.authorization_id) if row else None
    if authorization is None:
        return False
    OWN(
        authorization.client_id == client.client_id,
        expected="the client's own token",
        otherwise="another client's refresh token",
    )
    g.flow_id = authorization.id
    services().revocations.end("revoked by the client", Authorization.id == authorization.id)
    audit.record("authorization_revoked", client_id=client.client_id)
    return True


def _revoke_access_token(client: Client, token: str) -> None:
    found = access_tokens.read(services().keys, services().settings.issuer, token)
    if found is None:
        return
    OWN(
        found.client_id == client.client_id,
        expected="the client's own token",
        otherwise="another client's access token",
    )
    g.flow_id = found.authorization_id
    services().revocations.revoke_token(found.authorization_id, found.token_id, found.expires_at)
    audit.record("token_revoked", client_id=client.client_id)
