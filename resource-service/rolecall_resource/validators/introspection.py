"""Validation of access tokens by introspection (RFC 7662)."""

from __future__ import annotations

import base64
import json
import logging
from typing import Final
from urllib.parse import quote_plus

from rolecall import checks
from rolecall.http import HttpClient, Unreachable
from rolecall_resource.authorization_server import AuthorizationServer, authorization_server_unavailable
from rolecall_resource.settings import Settings
from rolecall_resource.validators import AccessToken, read_claims

log = logging.getLogger(__name__)

ACTIVE = checks.define(
    "token.active", "RFC 7662 section 2.2", "invalid_token", "The token is expired, revoked, or unknown.", status=401
)

REQUIRED_MEMBERS: Final = ("aud", "exp", "sub", "client_id")
"""Members that a response must have. RFC 7662 section 2.2 requires only `active`, but this service needs these."""


class Introspection:
    """A validator that introspects the token of every request, so that a revocation takes effect immediately."""

    def __init__(self, server: AuthorizationServer, http: HttpClient, settings: Settings) -> None:
        self._server = server
        self._http = http
        self._settings = settings
        credentials = f"{quote_plus(settings.resource_id)}:{quote_plus(settings.resource_secret)}"
        self._authorization = "Basic " + base64.b64encode(credentials.encode()).decode()

    def validate(self, token: str) -> AccessToken:
        """See `Validator`."""
        endpoint = self._server.metadata().introspection_endpoint
        if endpoint is None:
            raise authorization_server_unavailable("the metadata has no introspection_endpoint")
        try:
            response = self._http.send(
                "POST",
                endpoint,
                headers={"Authorization": self._authorization},
                form={"token": token, "token_type_hint": "access_token"},
            )
            if response.status != 200:
                log.error("introspection refused", extra={"status": response.status})
                raise authorization_server_unavailable(f"introspection returned status {response.status}")
            body = response.json()
        except (Unreachable, ValueError) as error:
            raise authorization_server_unavailable(f"introspection: {error}") from error
        active = body.get("active")
        ACTIVE(active is True, expected="active: true", actual=f"active: {json.dumps(active)}"[:60])
        return read_claims(
            body,
            issuer=self._settings.issuer,
            audience=self._settings.resource_identifier,
            leeway=self._settings.clock_leeway,
            required=REQUIRED_MEMBERS,
        )
