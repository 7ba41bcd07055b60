"""Dynamic registration of this client at its authorization server (RFC 7591), if the settings have no client ID."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from http import HTTPStatus
from typing import Any, Final

from rolecall import audit, clock
from rolecall.http import HttpClient, HttpResponse, Unreachable
from rolecall.issuer import optional_endpoint
from rolecall.storage import Store, compact_json
from rolecall_client.flow import B64TOKEN, FlowError, json_object, readable
from rolecall_client.issuer import AuthorizationServer
from rolecall_client.settings import SECRET_METHODS, Settings

LIFETIME: Final = 365 * 86400.0
"""Seconds that an unused registration is kept."""

RENEW_AFTER: Final = 86400.0
"""Seconds after which a registration that is used is stored again, so that it does not expire."""

CACHED: Final = 5.0
"""Seconds for which a process uses a registration without reading it from Redis again."""

RETRY_AFTER: Final = 60.0
"""Seconds between a failed registration and the next attempt, so that callers cannot make this client send one request
after another."""

CHECK_AFTER: Final = 300.0
"""Seconds after which the next flow first checks that the authorization server knows the registration, if it can be
read. The authorization endpoint never redirects back with an error about an unknown client (RFC 6749 section
4.1.2.1)."""

DOUBT_AFTER: Final = 3600.0
"""Seconds for which a registration that cannot be read is kept despite `invalid_client`. The error can have another
cause, such as a wrong clock, and each new registration leaves an unused client behind at the authorization server."""


class Registration:
    """The client's registration, stored encrypted in Redis, which all processes share.

    Settings that change the client metadata, such as another public URL, lead to a separate registration.
    """

    def __init__(self, settings: Settings, store: Store, http: HttpClient, server: AuthorizationServer) -> None:
        self._settings = settings
        self._store = store
        self._http = http
        self._server = server
        self._lock = threading.Lock()
        self._cached: tuple[float, Settings] | None = None
        self._name = compact_json({**client_metadata(settings), "issuer": settings.issuer}).decode()

    def settings(self, client_id: str | None = None) -> Settings:
        """Return the settings with the client's ID and secret; register first if that has not been done.

        Args:
            client_id: the client ID of a flow in progress, possibly started by another process that has just
                registered.

        Raises:
            FlowError: the authorization server does not register this client.
            Unreachable: it did not respond.
            OAuthError: its metadata names another issuer.
        """
        if self._settings.client_id:
            return self._settings
        with self._lock:  # one thread registers; Redis' lock is for the other processes
            cached = self._cached
            is_fresh = cached is not None and clock.cache_time() < cached[0] + CACHED
            if cached is None or not is_fresh or client_id not in {None, cached[1].client_id}:
                cached = self._cached = (clock.cache_time(), self._with(self._usable() or self._register()))
        return cached[1]

    def current(self) -> dict[str, Any] | None:
        """Return the stored registration: the members of the client information response (RFC 7591 section 3.2.1)."""
        entry = self._entry()
        return entry["client"] if entry else None

    def check(self) -> None:
        """Delete the registration if the authorization server no longer knows it; ask every `CHECK_AFTER` seconds.

        The next flow registers again.
        """
        client = None if self._settings.client_id else self.current()
        if client is None or self._store.get("registration_check", client["client_id"]) is not None:
            return
        self._store.put("registration_check", client["client_id"], {}, CHECK_AFTER)
        if self._is_known(client) is False:
            self._delete(client)

    def reject(self, client_id: str) -> None:
        """Handle the error `invalid_client`: delete the registration if the authorization server no longer knows it.

        If the registration can be read, the response shows whether it is known (RFC 7592 section 2.1). Otherwise, only
        a registration older than `DOUBT_AFTER` is deleted.
        """
        entry = None if self._settings.client_id else self._entry()
        self._cached = None
        if entry is None or entry["client"]["client_id"] != client_id:
            return  # another process has registered again
        is_known = self._is_known(entry["client"])
        if is_known is False or (is_known is None and clock.now() >= entry["registered_at"] + DOUBT_AFTER):
            self._delete(entry["client"])

    def remove(self) -> bool:
        """Delete the registration at the authorization server, if it can be managed, and here (RFC 7592 section 2.3).

        Returns:
            Whether the authorization server has deleted it, or no longer knows it.

        Raises:
            FlowError: the client is not registered, or the authorization server refuses to delete the registration.
            Unreachable: it did not respond.
        """
        client = self.current()
        if client is None:
            raise FlowError("no_registration", "Tally is not registered dynamically.")
        response = self._manage("DELETE", client)
        status = HTTPStatus.NOT_IMPLEMENTED if response is None else response.status
        is_deleted = status in {HTTPStatus.NO_CONTENT, HTTPStatus.UNAUTHORIZED}  # 401: it has already been deleted
        # 405: it cannot delete registrations
        if not is_deleted and status not in {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}:
            raise FlowError("no_registration", f"The authorization server returned status {status}.")
        self._delete(client)
        return is_deleted

    def _entry(self) -> dict[str, Any] | None:
        return self._store.get("registration", self._name)

    def _delete(self, client: dict[str, Any]) -> None:
        self._store.delete("registration", self._name)
        self._cached = None
        audit.record("client_ended", client_id=client["client_id"])

    def _manage(self, method: str, client: dict[str, Any]) -> HttpResponse | None:
        """Send a request to the client configuration endpoint (RFC 7592 section 2); return None without an endpoint."""
        url, token = client.get("registration_client_uri"), client.get("registration_access_token")
        if not url or not token:
            return None
        return self._http.send(method, url, headers={"Authorization": f"Bearer {token}"})

    def _is_known(self, client: dict[str, Any]) -> bool | None:
        """Return whether the authorization server knows the registration; None if this cannot be determined.

        It may rotate the client's credentials in its response (RFC 7592 section 2.1).
        """
        try:
            response = self._manage("GET", client)
            if response is None or response.status == HTTPStatus.UNAUTHORIZED:
                return None if response is None else False
            if response.status != HTTPStatus.OK or json_object(response).get("client_id") != client["client_id"]:
                return None
            new = client_information({**client, **json_object(response)}, self._settings)
        except (Unreachable, FlowError):
            return None
        if new != client and (entry := self._entry()) is not None:
            self._keep(new, entry["registered_at"])
            self._cached = None
        return True

    def _with(self, client: dict[str, Any]) -> Settings:
        return dataclasses.replace(
            self._settings,
            client_id=client["client_id"],
            client_secret=client.get("client_secret"),
            client_auth_method=client["token_endpoint_auth_method"],
        )

    def _usable(self) -> dict[str, Any] | None:
        """Return the stored registration, unless its secret has expired; store it again if that is due."""
        entry = self._entry()
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
        self._store.put("registration", self._name, {"client": client, "registered_at": registered_at}, LIFETIME)

    def _register(self) -> dict[str, Any]:
        name = f"{self._store.key('registration', self._name)}:lock"
        with self._store.client.lock(name, timeout=15, blocking_timeout=10):
            if client := self._usable():
                return client  # another process was faster
            if failed := self._store.get("registration_failed", self._name):
                raise FlowError("registration_rejected", f"{failed['detail']} Tally tries again in a minute.")
            url = self._server.metadata().registration_endpoint
            if url is None:
                raise FlowError("no_registration_endpoint", "the metadata has no registration endpoint")
            try:
                client = self._request(url)
            except (FlowError, Unreachable) as error:
                detail = error.detail if isinstance(error, FlowError) else "It did not respond."
                self._store.put("registration_failed", self._name, {"detail": detail}, RETRY_AFTER)
                raise
            self._keep(client, clock.now())
            self._store.put("registration_check", client["client_id"], {}, CHECK_AFTER)
        audit.record("client_registered", client_id=client["client_id"])
        return client

    def _request(self, url: str) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if token := self._settings.registration_token:
            headers["Authorization"] = f"Bearer {token}"
        metadata = client_metadata(self._settings, self._server.metadata().scopes)
        response = self._http.send("POST", url, headers=headers, body=json.dumps(metadata).encode())
        body = json_object(response)
        if response.status not in {HTTPStatus.CREATED, HTTPStatus.OK}:
            error, text = readable(body.get("error")), readable(body.get("error_description"))
            detail = ": ".join(each for each in (error, text) if each) or f"status {response.status}"
            raise FlowError("registration_rejected", f"Its response is: {detail}.")
        return client_information({**metadata, **body}, self._settings)


def client_metadata(settings: Settings, supported: frozenset[str] | None = None) -> dict[str, Any]:
    """Return the metadata with which this client registers (RFC 7591 section 2).

    Args:
        supported: the scopes that the authorization server lists; None if it lists none. Some servers reject others.
    """
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
    if settings.client_private_key is not None and settings.client_auth_method not in SECRET_METHODS:
        metadata["jwks"] = {"keys": [settings.client_private_key.public]}
    return metadata


def client_information(client: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the members of a client information response that this client can use (RFC 7591 section 3.2.1).

    The server may have registered other values than requested. The address and the token with which the registration
    is managed are optional (RFC 7592 section 3), and are removed if they cannot be used.

    Raises:
        FlowError: this client cannot work with one of the values.
    """
    method, expires_at = client.get("token_endpoint_auth_method"), client.get("client_secret_expires_at", 0)
    if method in SECRET_METHODS:
        has_credentials = bool(readable(client.get("client_secret")))
    else:
        has_credentials = method == "private_key_jwt" and settings.client_private_key is not None
    usable = {
        "client_id": bool(readable(client.get("client_id"))),
        "token_endpoint_auth_method or client_secret": has_credentials,
        "client_secret_expires_at": isinstance(expires_at, int) and not isinstance(expires_at, bool),
        "redirect_uris": _contains(client.get("redirect_uris"), settings.redirect_uri),
        "grant_types": _contains(client.get("grant_types"), "authorization_code"),
        "id_token_signed_response_alg": client.get("id_token_signed_response_alg")
        == settings.id_token_signed_response_alg,
    }
    if unusable := [name for name, is_usable in usable.items() if not is_usable]:
        raise FlowError("registration_rejected", f"Its response has no usable {', '.join(unusable)}.")
    try:
        url = optional_endpoint(client, "registration_client_uri", insecure=settings.lab)
    except ValueError:
        url = None
    token = client.get("registration_access_token")
    if url is None or not isinstance(token, str) or not B64TOKEN.fullmatch(token):
        removed = {"registration_client_uri", "registration_access_token"}
        return {name: value for name, value in client.items() if name not in removed}
    return client


def _contains(values: Any, value: str) -> bool:
    return isinstance(values, list) and value in values
