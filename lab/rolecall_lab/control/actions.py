"""Actions on the authorization server, with the functions that its commands and pages use.

They show which way of validating tokens notices which change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import redis
import sqlalchemy as sa
from flask import Flask
from joserfc.jws import extract_compact

from rolecall import audit, clock
from rolecall.sql import UNAVAILABLE
from rolecall_auth.jose.access_tokens import AccessToken
from rolecall_auth.jose.signing_keys import KeysError
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import forget
from rolecall_auth.services import Services
from rolecall_lab.control import outage
from rolecall_lab.control.errors import Refusal


@dataclass(frozen=True, slots=True)
class Action:
    """The member of the request that an action requires (None if it requires none), and the function that runs it."""

    member: str | None
    run: Callable[[str], str]


class Actions:
    """The actions of one authorization server."""

    def __init__(self, app: Flask, client: redis.Redis) -> None:
        self._app = app
        self._client = client
        self._services: Services = app.extensions["rolecall_auth"]
        self.available: Final[dict[str, Action]] = {
            "disconnect": Action("token", self._disconnect),
            "rotate": Action(None, self._rotate),
            "retire": Action("token", self._retire),
            "disable": Action("client_id", self._disable),
            "enable": Action("client_id", self._enable),
            "stop": Action(None, self._stop),
            "go-on": Action(None, self._resume),
        }
        """The actions by name."""

    def run(self, name: str, value: str) -> str:
        """Run an action and return a sentence that describes the result.

        Args:
            value: the value of the action's member; empty if it requires none.

        Raises:
            Refusal: the action is not possible and has no effect.
            redis.RedisError: Redis does not respond.
        """
        try:
            with self._app.app_context():
                return self.available[name].run(value)
        except UNAVAILABLE as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the database does not respond") from error

    def status(self) -> dict[str, Any]:
        """Return the remaining seconds of the outage (`away`; 0.0 without an outage) and the `disabled` clients.

        Raises:
            Refusal: the database does not respond.
            redis.RedisError: Redis does not respond.
        """
        try:
            with self._services.database.read() as session:
                disabled = list(session.scalars(sa.select(Client.client_id).where(Client.disabled_at.is_not(None))))
        except UNAVAILABLE as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the database does not respond") from error
        return {"away": outage.seconds_left(self._client), "disabled": sorted(disabled)}

    def _disconnect(self, token: str) -> str:
        """Withdraw the consent, as the owner does on the page of connected apps."""
        access_token = self._read(token)
        # this also ends pending decisions, which have not led to an authorization yet
        self._services.store.put(
            "disconnected",
            f"{access_token.subject} {access_token.client_id}",
            {"at": clock.now()},
            self._services.settings.request_lifetime,
        )
        with self._services.database.transaction() as session:
            forget(session, access_token.subject, access_token.client_id)
        self._services.revocations.end(
            "disconnected by the user",
            Authorization.user_id == access_token.subject,
            Authorization.client_id == access_token.client_id,
        )
        audit.record("consent_taken_back", user_id=access_token.subject, client_id=access_token.client_id)
        return "The owner removed the client's access."

    def _rotate(self, _value: str) -> str:
        """Rotate the signing keys, as `flask keys rotate` does."""
        new = self._services.keys.rotate()
        if not new:
            return "Nothing changed: a new key is already published, but does not sign yet."
        audit.record("keys_rotated", kids=new)
        return f"{len(new)} new keys are published. They sign in {self._services.keys.published_before} seconds."

    def _retire(self, token: str) -> str:
        """Retire the key that signed the token, as `flask keys retire` does."""
        self._read(token)
        kid = str(extract_compact(token.encode()).headers()["kid"])
        try:
            new = self._services.keys.retire(kid)
        except KeysError as error:  # another request retired the key first
            raise Refusal(HTTPStatus.CONFLICT, str(error)) from error
        audit.record("key_retired", kid=kid)
        return f"The key {kid[:8]}… is retired.{' A new key signs from now on.' if new else ''}"

    def _disable(self, client_id: str) -> str:
        """Disable the client, as `flask disable-client` does."""
        with self._services.database.transaction() as session:
            client = session.get(Client, client_id)
            if client is None:
                raise Refusal(HTTPStatus.CONFLICT, f"unknown client {client_id}")
            client.disabled_at = client.disabled_at or clock.now()
        ended = self._services.revocations.end("client disabled", Authorization.client_id == client_id)
        audit.record("client_disabled", client_id=client_id)
        return f"The client is disabled, and {ended} of its authorizations have ended."

    def _enable(self, client_id: str) -> str:
        with self._services.database.transaction() as session:
            client = session.get(Client, client_id)
            if client is None:
                raise Refusal(HTTPStatus.CONFLICT, f"unknown client {client_id}")
            client.disabled_at = None
        return "The client is enabled again. Its ended authorizations remain ended."

    def _stop(self, _value: str) -> str:
        outage.begin(self._client)
        return f"The authorization server responds to every request with 503 for up to {outage.LONGEST} seconds."

    def _resume(self, _value: str) -> str:
        outage.end(self._client)
        return "The authorization server responds again."

    def _read(self, token: str) -> AccessToken:
        access_token = self._services.access_tokens.read(token)
        if access_token is None:
            raise Refusal(
                HTTPStatus.CONFLICT, "the token was not issued by this server, or the token or its key has expired"
            )
        return access_token
