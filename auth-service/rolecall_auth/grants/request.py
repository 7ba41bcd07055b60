"""The request object that grants read, with the types of this service."""

from __future__ import annotations

from typing import cast

from authlib.oauth2 import OAuth2Request as AuthlibRequest
from authlib.oauth2.rfc6749 import BaseGrant, UnauthorizedClientError
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from flask import request

from rolecall_auth.models.authorization import Approved, AuthorizationRecord
from rolecall_auth.models.client import Client
from rolecall_auth.models.code import AuthorizationCode
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.token import RefreshTokenRecord
from rolecall_auth.openid.authentication_request import AuthenticationRequest


class OAuth2Request(AuthlibRequest):
    """A request with validated parameters: `form` and `payload` contain the same dict.

    Args:
        clean: the parameters, validated by `parameters.read`.
    """

    payload: BasicOAuth2Payload

    client: Client
    """Set when the client has been identified or authenticated."""

    authorization_code: AuthorizationCode
    refresh_token: RefreshTokenRecord
    authorization: AuthorizationRecord
    resource: Resource
    """Set by the grants when they validate a token request."""

    authentication: AuthenticationRequest
    approved: Approved
    """Set by the authorization endpoint."""

    def __init__(self, clean: dict[str, str]) -> None:
        # Authlib requires an https URI; the scheme that matters is the issuer's
        super().__init__(request.method, "https://issuer/", headers=request.headers)  # type: ignore[call-overload]
        self.payload = BasicOAuth2Payload(clean)
        self._clean = clean

    @property
    def form(self) -> dict[str, str]:
        """The validated parameters."""
        return self._clean


def authenticated_client(grant: BaseGrant) -> Client:
    """Authenticate the client, and require that it is registered for the grant (RFC 6749 section 5.2).

    Raises:
        OAuthError: invalid_client.
        UnauthorizedClientError: the client is not registered for the grant.
    """
    client = cast("Client", grant.authenticate_token_endpoint_client())
    if not client.check_grant_type(grant.GRANT_TYPE):
        raise UnauthorizedClientError
    return client
