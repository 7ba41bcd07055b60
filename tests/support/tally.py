"""Tally in this process, with a real Redis and scripted responses of the two servers."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.fernet import Fernet, MultiFernet
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from rolecall.http import HttpResponse, Unreachable
from rolecall.limits import limit
from rolecall_client import create_app
from rolecall_client.services import Services
from rolecall_client.settings import Settings
from support.described import refusals_described, watched

ISSUER = "http://auth.test"
API = "http://api.test"
METADATA: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "revocation_endpoint": f"{ISSUER}/revoke",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "jwks_uri": f"{ISSUER}/jwks",
    "authorization_response_iss_parameter_supported": True,
}
TOKENS = {
    "access_token": "access-token-secret-value",
    "refresh_token": "refresh-token-secret-value",
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "invoices:read",
}
INVOICE = {
    "id": "inv_1",
    "number": "INV-1",
    "supplier": "Tea House <b>",
    "description": "Tea",
    "amount_minor": 123456,
    "currency": "GBP",
    "issued_on": "2026-11-02",
    "due_on": "2026-12-02",
    "state": "open",
}


@dataclass
class FakeHttp:
    """An HTTP client that records requests, and returns scripted responses by URL or raises scripted exceptions."""

    answers: dict[str, Any] = field(default_factory=dict)
    sent: list[tuple[str, str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    bodies: dict[str, list[bytes]] = field(default_factory=dict)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        self.sent.append((method, url, dict(headers or {}), dict(form or {})))
        if body is not None:
            self.bodies.setdefault(url, []).append(body)
        answer = self.answers.get(url)
        if answer is None:
            raise Unreachable(url, "connection refused")
        if isinstance(answer, Exception):
            raise answer
        status, content, extra = answer
        return HttpResponse(status, extra, json.dumps(content).encode() if content != "" else b"", 1.5)

    def to(self, url: str) -> list[tuple[str, str, dict[str, str], dict[str, str]]]:
        return [each for each in self.sent if each[1] == url]


@dataclass
class Tally:
    app: Flask
    services: Services
    http: FakeHttp

    @property
    def cookie_name(self) -> str:
        return str(self.app.config["SESSION_COOKIE_NAME"])

    def browser(self) -> Browser:
        return Browser(self.app.test_client())

    def again(self, **changes: Any) -> Tally:
        """Return another application with the same keys and other settings."""
        app = create_app(dataclasses.replace(self.services.settings, **changes), self.http)  # type: ignore[arg-type]
        return Tally(app, app.extensions["rolecall_client"], self.http)


class Browser:
    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def press(self, path: str, page: str = "/", **fields: str) -> TestResponse:
        match = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get(page).text)
        assert match
        return self.client.post(path, data={"csrf_token": match[1], **fields})

    def begin(self, path: str = "/connect", page: str = "/", **fields: str) -> dict[str, str]:
        """Press a button; return the parameters of the authorization request."""
        response = self.press(path, page, **fields)
        assert response.status_code == 303, response.text
        assert response.location.startswith(METADATA["authorization_endpoint"] + "?")
        return {name: values[0] for name, values in parse_qs(urlsplit(response.location).query).items()}

    def come_back(self, **parameters: str) -> TestResponse:
        return self.client.get("/callback", query_string=parameters)

    def connect(self) -> None:
        response = self.come_back(code="c0de", state=self.begin()["state"], iss=ISSUER)
        assert response.status_code == 303, response.text
        assert response.location == "/invoices"


def make_tally(redis_url: str) -> Tally:
    http = FakeHttp(
        {
            f"{ISSUER}/.well-known/oauth-authorization-server": (200, METADATA, {}),
            METADATA["token_endpoint"]: (200, TOKENS, {}),
            METADATA["revocation_endpoint"]: (200, "", {}),
            f"{API}/invoices": (200, {"invoices": [INVOICE]}, {}),
        }
    )
    settings = Settings(
        public_url="http://tally.test",
        issuer=ISSUER,
        resource_url=API,
        resource_identifier=API,
        client_id="tally",
        client_secret="client-secret-value",
        redis_url=redis_url,
        secret_key="a secret key of the tests, long enough",
        data_key=MultiFernet([Fernet(Fernet.generate_key())]),
        log_level="INFO",
        lab=True,
    )
    return _started(settings, http)


def another_process(tally: Tally) -> Tally:
    """Return another application of the same Tally on the same Redis, like a second worker."""
    return _started(tally.services.settings, tally.http)


def _started(settings: Settings, http: FakeHttp) -> Tally:
    app = create_app(settings, http)  # type: ignore[arg-type]
    refusals_described(app)
    return Tally(app, app.extensions["rolecall_client"], http)


def stores_too_much(tally: Tally, seen: set[tuple[str, int]]) -> None:
    """Exceed every limit of Tally; `seen` collects the responses."""
    limited = tally.again(session_limit=limit("1/hour"), flow_bytes_limit=limit("3500/hour"))
    watched(limited.app, seen)
    browser = limited.browser()
    browser.connect()
    assert browser.come_back(code="c0de", state=browser.begin()["state"], iss=ISSUER).status_code == 429
    state = browser.begin()["state"]
    assert limited.app.test_client().post("/callback", data={"state": state}).status_code == 429
    assert browser.press("/connect").status_code == 429
    assert browser.press("/connect-and-sign-in").status_code == 429
    assert browser.press("/sign-in").status_code == 429
