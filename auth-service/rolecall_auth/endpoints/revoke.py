"""Token revocation (RFC 7009): a single access token, or the whole authorization of a refresh token."""

from __future__ import annotations

from flask import Response, g
from flask.typing import ResponseReturnValue

from rolecall import audit, checks
from rolecall.errors import NO_STORE
from rolecall_auth.clients.authentication import authenticate_client, read_back_channel
from rolecall_auth.models import token as refresh_tokens
from rolecall_auth.models.client import Client
from rolecall_auth.parameters import REQUIRED
from rolecall_auth.services import services

OWN = checks.define(
    "revoke.own_token", "RFC 7009 section 2.1", "invalid_grant", "The token was issued to another client."
)


def revoke() -> ResponseReturnValue:
    """POST /revoke: return 200 for revoked and for unknown tokens (RFC 7009 section 2.2); the hint is not used."""
    clean, credentials = read_back_channel("revoke")
    client = authenticate_client(credentials)
    REQUIRED("token" in clean, expected="token", actual=sorted(clean))
    if not _revoke_refresh_token(client, clean["token"]):
        _revoke_access_token(client, clean["token"])
    return Response(status=200, headers=NO_STORE)


def _revoke_refresh_token(client: Client, token: str) -> bool:
    with services().database.connect() as connection:
        found = refresh_tokens.find(connection, token)
    if found is None:
        return False
    _, authorization = found
    OWN(
        authorization.client_id == client.client_id,
        expected="the client's own token",
        otherwise="another client's refresh token",
    )
    g.flow_id = authorization.id
    services().revocations.end_record("revoked by the client", authorization)
    audit.record("authorization_revoked", client_id=client.client_id)
    return True


def _revoke_access_token(client: Client, token: str) -> None:
    access_token = services().access_tokens.read(token)
    if access_token is None:
        return
    OWN(
        access_token.client_id == client.client_id,
        expected="the client's own token",
        otherwise="another client's access token",
    )
    g.flow_id = access_token.authorization_id
    services().revocations.revoke_token(access_token.authorization_id, access_token.token_id, access_token.expires_at)
    audit.record("token_revoked", client_id=client.client_id)
