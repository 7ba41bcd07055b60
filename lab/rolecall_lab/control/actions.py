"""What the lab can do to the authorization server so that one sees who notices it: by the server's own functions."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import redis
import sqlalchemy as sa
from flask import Flask
from joserfc.jws import extract_compact

from rolecall import audit, clock
from rolecall.sql import UNAVAILABLE
from rolecall_auth.jose import access_tokens
from rolecall_auth.jose.signing_keys import KeysError
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import forget
from rolecall_auth.services import Services
from rolecall_lab.control import outage
from rolecall_lab.control.api import Refusal


class Acts:
    """The acts of one authorization server. Each gives one sentence that says what was done."""

    def __init__(self, app: Flask, client: redis.Redis) -> None:
        self._app = app
        self._client = client
        self._services: Services = app.extensions["rolecall_auth"]
        self.known: Final[dict[str, tuple[str | None, Callable[[str], str]]]] = {
            "disconnect": ("token", self._disconnect),
            "rotate": (None, self._rotate),
            "retire": ("token", self._retire),
            "disable": ("client_id", self._disable),
            "enable": ("client_id", self._enable),
            "stop": (None, self._stop),
            "go-on": (None, self._go_on),
        }
        """By name: the member that each needs, and what does it."""

    def do(self, act: str, value: str) -> str:
        """Do one of `known`, with the value of its member.

        Raises:
            Refusal: it cannot be done; nothing was changed.
            redis.RedisError: Redis does not answer.
        """
        _, function = self.known[act]
        try:
            with self._app.app_context():
                return function(value)
        except UNAVAILABLE as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer") from error

    def condition(self) -> dict[str, Any]:
        """How long the server will not answer (seconds; 0.0 when it does), and which clients are disabled.

        Raises:
            Refusal: the database does not answer.
            redis.RedisError: Redis does not answer.
        """
        try:
            with self._services.database.read() as session:
                disabled = list(session.scalars(sa.select(Client.client_id).where(Client.disabled_at.is_not(None))))
        except UNAVAILABLE as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer") from error
        return {"away": outage.seconds_left(self._client), "disabled": sorted(disabled)}

    def _disconnect(self, token: str) -> str:
        """As the owner does on the page of connected apps."""
        found = self._read(token)
        # decisions that were made and not yet used end as well
        self._services.store.put(
            "disconnected",
            f"{found.subject} {found.client_id}",
            {"at": clock.now()},
            self._services.settings.request_lifetime,
        )
        with self._services.database.transaction() as session:
            forget(session, found.subject, found.client_id)
        self._services.revocations.end(
            "taken back by the owner",
            Authorization.user_id == found.subject,
            Authorization.client_id == found.client_id,
        )
        audit.record("consent_taken_back", user_id=found.subject, client_id=found.client_id)
        return "The owner took back what the client was allowed."

    def _rotate(self, _value: str) -> str:
        """As `flask keys rotate`."""
        new = self._services.keys.rotate()
        if not new:
            return "A new key is published already and has not begun to sign; nothing was changed."
        audit.record("keys_rotated", kids=new)
        return f"{len(new)} new keys are published; they sign in {self._services.keys.published_before} seconds."

    def _retire(self, token: str) -> str:
        """As `flask keys retire`, for the key that signed the token."""
        self._read(token)
        kid = str(extract_compact(token.encode()).headers()["kid"])
        try:
            new = self._services.keys.retire(kid)
        except KeysError as error:  # somebody else was faster
            raise Refusal(HTTPStatus.CONFLICT, str(error)) from error
        audit.record("key_retired", kid=kid)
        return f"The key {kid[:8]}… is retired{'; a new one signs at once' if new else ''}."

    def _disable(self, client_id: str) -> str:
        """As `flask disable-client`."""
        with self._services.database.transaction() as session:
            client = session.get(Client, client_id)
            if client is None:
                raise Refusal(HTTPStatus.CONFLICT, "there is no such client")
            client.disabled_at = client.disabled_at or clock.now()
        ended = self._services.revocations.end("client disabled", Authorization.client_id == client_id)
        audit.record("client_disabled", client_id=client_id)
        return f"The client is disabled; {ended} of its authorizations have ended."

    def _enable(self, client_id: str) -> str:
        with self._services.database.transaction() as session:
            client = session.get(Client, client_id)
            if client is None:
                raise Refusal(HTTPStatus.CONFLICT, "there is no such client")
            client.disabled_at = None
        return "The client is enabled again. What was ended stays ended."

    def _stop(self, _value: str) -> str:
        outage.stop_answering(self._client)
        return f"The authorization server answers everything with 503, for {outage.LONGEST} seconds at most."

    def _go_on(self, _value: str) -> str:
        outage.answer_again(self._client)
        return "The authorization server answers again."

    def _read(self, token: str) -> access_tokens.AccessToken:
        found = access_tokens.read(self._services.keys, self._services.settings.issuer, token)
        if found is None:
            raise Refusal(HTTPStatus.CONFLICT, "the token is none of this server's, or its time or its key's is over")
        return found
