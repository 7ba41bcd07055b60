"""Dynamic registration of this client at its authorization server (RFC 7591), if the settings have no client ID."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from http import HTTPStatus
from typing import Any, Final

from rolecall import audit, clock
from rolecall.http import HttpClient, HttpResponse
from rolecall.storage import Store
from rolecall_client.flow import FlowError, json_object, readable
from rolecall_client.issuer import AuthorizationServer
from rolecall_client.settings import AUTH_METHODS, SECRET_METHODS, Settings

LIFETIME: Final = 365 * 86400.0
"""Seconds that an unused registration is kept."""

RENEW_AFTER: Final = 86400.0
"""Seconds after which a registration that is used is stored again, so that it does not expire."""

CACHED: Final = 5.0
"""Seconds for which a process uses a registration without looking at the stored one."""

RETRY_AFTER: Final = 60.0
"""Seconds between two registrations, so that callers cannot make this client register again and again."""


class Registration:
    """The client's registration, stored encrypted in Redis, which all processes share."""

    def __init__(self, settings: Settings, store: Store, http: HttpClient, server: AuthorizationServer) -> None:
        self._settings = settings
        self._store = store
        self._http = http
        self._server = server
        self._lock = threading.Lock()
        self._cached: tuple[float, Settings] | None = None

    def settings(self) -> Settings:
        """Return the settings with the client's ID and secret; register first if that has not been done.

        Raises:
            FlowError: the authorization server does not register this client.
            Unreachable: it did not respond.
            OAuthError: its metadata name another issuer.
        """
        if self._settings.client_id:
            return self._settings
        with self._lock:  # one thread registers; Redis' lock is for the other processes
            cached = self._cached
            if cached is None or clock.cache_time() >= cached[0] + CACHED:
                cached = self._cached = (clock.cache_time(), self._with(self._stored() or self._register()))
        return cached[1]

    def current(self) -> dict[str, Any] | None:
        """Return the stored registration: the members of the client information response (RFC 7591 section 3.2.1)."""
        entry = self._store.get("registration", self._settings.issuer)
        return entry["client"] if entry else None

    def forget(self) -> None:
        """Delete a registration that the authorization server no longer knows, unless it is new.

        The next flow registers again.
        """
        entry = self._store.get("registration", self._settings.issuer)
        if entry is not None and clock.now() >= entry["registered_at"] + RETRY_AFTER:
            self._store.delete("registration", self._settings.issuer)
            audit.record("client_ended", client_id=entry["client"]["client_id"])
        self._cached = None

    def remove(self) -> bool:
        """Delete the registration at the authorization server, if it can be managed, and here (RFC 7592 section 2.3).

        Returns:
            Whether the authorization server has deleted it, or no longer knows it.

        Raises:
            FlowError: there is no registration, or the authorization server refuses to delete it.
            Unreachable: it did not respond.
        """
        client = self.current()
        if client is None:
            raise FlowError("no_registration", "Tally is not registered dynamically.")
        url, token = client.get("registration_client_uri"), client.get("registration_access_token")
        is_managed = isinstance(url, str) and isinstance(token, str)
        if is_managed:
            response = self._http.send("DELETE", str(url), headers={"Authorization": f"Bearer {token}"})
            # 401: the client has already been deleted (RFC 7592 section 2.3)
            if response.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND}:
                raise FlowError("no_registration", f"The authorization server returned status {response.status}.")
        self._store.delete("registration", self._settings.issuer)
        self._cached = None
        return is_managed

    def _with(self, client: dict[str, Any]) -> Settings:
        return dataclasses.replace(
            self._settings,
            client_id=client["client_id"],
            client_secret=client.get("client_secret"),
            client_auth_method=client["token_endpoint_auth_method"],
        )

    def _stored(self) -> dict[str, Any] | None:
        entry = self._store.get("registration", self._settings.issuer)
        if entry is None:
            return None
        client: dict[str, Any] = entry["client"]
        expires_at = client.get("client_secret_expires_at") or math.inf  # 0: never (RFC 7591 section 3.2.1)
        if clock.now() >= expires_at:
            return None
        if clock.now() >= entry["expires_at"] - LIFETIME + RENEW_AFTER:
            self._keep(client, entry["registered_at"])
        return client

    def _keep(self, client: dict[str, Any], registered_at: float) -> None:
        entry = {"client": client, "registered_at": registered_at}
        self._store.put("registration", self._settings.issuer, entry, LIFETIME)

    def _register(self) -> dict[str, Any]:
        name = f"{self._store.key('registration', self._settings.issuer)}:lock"
        with self._store.client.lock(name, timeout=15, blocking_timeout=10):
            if client := self._stored():
                return client  # another process was faster
            if self._store.get("registration_attempt", self._settings.issuer) is not None:
                raise FlowError("registration_rejected", "The last attempt was less than a minute ago.")
            self._store.put("registration_attempt", self._settings.issuer, {}, RETRY_AFTER)
            client = self._request()
            self._keep(client, clock.now())
            self._store.delete("registration_attempt", self._settings.issuer)
        audit.record("client_registered", client_id=client["client_id"])
        return client

    def _request(self) -> dict[str, Any]:
        url = self._server.metadata().registration_endpoint
        if url is None:
            raise FlowError("registration_rejected", "It has no registration endpoint.")
        headers = {"Content-Type": "application/json"}
        if token := self._settings.registration_token:
            headers["Authorization"] = f"Bearer {token}"
        return self._client(self._http.send("POST", url, headers=headers, body=json.dumps(self._metadata()).encode()))

    def _metadata(self) -> dict[str, Any]:
        """Return the client metadata (RFC 7591 section 2)."""
        settings, key = self._settings, self._settings.client_private_key
        supported = self._server.metadata().scopes
        wanted = dict.fromkeys(f"{settings.sign_in_scope} offline_access {settings.scope}".split())
        scope = [each for each in wanted if supported is None or each in supported]
        metadata: dict[str, Any] = {
            "client_name": "Tally",
            "client_uri": settings.public_url,
            "redirect_uris": [settings.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": settings.client_auth_method,
            "id_token_signed_response_alg": settings.id_token_signed_response_alg,
        }
        if scope:
            metadata["scope"] = " ".join(scope)
        if key is not None and settings.client_auth_method not in SECRET_METHODS:
            metadata["jwks"] = {"keys": [key.public]}
        return metadata

    def _client(self, response: HttpResponse) -> dict[str, Any]:
        """Return the client information of a response (RFC 7591 section 3.2.1), or its error (section 3.2.2)."""
        body = json_object(response)
        if response.status not in {HTTPStatus.CREATED, HTTPStatus.OK}:
            error, text = readable(body.get("error")), readable(body.get("error_description"))
            detail = ": ".join(each for each in (error, text) if each) or f"status {response.status}"
            raise FlowError("registration_rejected", f"Its response is: {detail}.")
        method = body.get("token_endpoint_auth_method", self._settings.client_auth_method)
        secret, expires_at = body.get("client_secret"), body.get("client_secret_expires_at", 0)
        is_valid = (
            bool(readable(body.get("client_id")))
            and method in AUTH_METHODS
            and (method not in SECRET_METHODS or bool(readable(secret)))
            and isinstance(expires_at, int)
        )
        if not is_valid:
            raise FlowError("registration_rejected", "Its response has no usable client ID, secret, and method.")
        return {**body, "token_endpoint_auth_method": method}
