"""An authorization server that is scripted but signs with real keys, for the tests of the Invoices API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.http import HttpResponse, Unreachable
from rolecall.sql import Database
from rolecall_lab.compare import validator
from rolecall_resource import MIGRATIONS, create_app
from rolecall_resource.models import Invoice, Profile
from rolecall_resource.settings import Settings
from support.databases import fresh_database
from support.described import refusals_described

ISSUER = "http://auth.test"
API = "http://api.test"
EC, EC2, RSA = ECKey.generate_key("P-256"), ECKey.generate_key("P-256"), RSAKey.generate_key(2048)
ED = OKPKey.generate_key("Ed25519")


def jwk(key: Any, kid: str, alg: str) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, "alg": alg, "use": "sig"}


@dataclass
class FakeServer:
    """A replacement for the service's HTTP client, with scripted responses of the authorization server."""

    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk(EC, "ec", "ES256"), jwk(RSA, "rsa", "RS256")])
    issuer: str = ISSUER
    introspection: Any = None
    status: int = 200
    is_away: bool = False
    has_introspection: bool = True
    asked: list[str] = field(default_factory=list)
    sent: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    gate: threading.Event | None = None

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
    ) -> HttpResponse:
        self.asked.append(url)
        self.sent.append((url, dict(headers or {}), dict(form or {})))
        if self.gate is not None:
            self.gate.wait(60)
        if self.is_away:
            raise Unreachable(url, "connection refused")
        body: Any
        if "/.well-known/" in url:
            body = {
                "issuer": self.issuer,
                "jwks_uri": f"{ISSUER}/jwks",
                **({"introspection_endpoint": f"{ISSUER}/introspect"} if self.has_introspection else {}),
            }
        elif url.endswith("/jwks"):
            body = {"keys": self.keys}
        else:
            body = self.introspection
        status = self.status if url.endswith("/introspect") else 200
        return HttpResponse(status, {"cache-control": "public, max-age=300"}, json.dumps(body).encode(), 1.0)

    def count(self, path: str) -> int:
        return sum(url.endswith(path) for url in self.asked)


@dataclass
class Api:
    app: Flask
    server: FakeServer

    def get(
        self, path: str = "/invoices", token: str | None = None, *, how: str = "jwt", **headers: str
    ) -> TestResponse:
        return self.call("GET", path, token, how=how, **headers)

    def call(self, method: str, path: str, token: str | None, *, how: str = "jwt", **headers: str) -> TestResponse:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.app.test_client().open(
            path, method=method, headers=headers, environ_overrides={"rolecall.validator": how}
        )


def claims(**changes: Any) -> dict[str, Any]:
    now = int(clock.now())
    values = {
        "iss": ISSUER,
        "aud": API,
        "sub": "alice",
        "client_id": "tally",
        "scope": "invoices:read invoices:pay profile",
        "iat": now,
        "exp": now + 300,
        "jti": "j1",
        **changes,
    }
    return {name: value for name, value in values.items() if value != "-"}


def token(key: Any = EC, header: dict[str, Any] | None = None, payload: bytes | None = None, **changes: Any) -> str:
    """Return a valid token with these changes; a claim or header of "-" is omitted."""
    defaults = {"alg": "ES256", "typ": "at+jwt", "kid": "ec"}
    if key is RSA:
        defaults |= {"alg": "RS256", "kid": "rsa"}
    protected = {name: value for name, value in (defaults | (header or {})).items() if value != "-"}
    content = payload if payload is not None else json.dumps(claims(**changes)).encode()
    registry = jws.JWSRegistry(
        algorithms=["ES256", "RS256", "PS256", "EdDSA", "HS256", "none"], strict_check_header=False
    )
    return jws.serialize_compact(protected, content, key, registry=registry)


@contextmanager
def an_api(folder: Path, *rows: Profile | Invoice, **changes: Any) -> Iterator[Api]:
    """Start the Invoices API on a new database, with these people, invoices, and changed settings."""
    server = FakeServer()
    settings = Settings(
        issuer=ISSUER,
        public_url=API,
        resource_identifier=API,
        resource_id="invoices-api",
        resource_secret="a resource secret",
        database_url=fresh_database("api", folder, _prepare),
        secret_key="a secret key of the tests, long enough",
        lab=True,
        **changes,
    )
    with _started(settings, server) as api:
        database: Database = api.app.extensions["resource_database"]
        with database.transaction() as session:
            session.add_all(rows)
        yield api


@contextmanager
def another_process(api: Api) -> Iterator[Api]:
    """Start another application of the same API on the same database, like a second worker."""
    with _started(api.app.extensions["rolecall_resource"], api.server) as another:
        yield another


@contextmanager
def _started(settings: Settings, server: FakeServer) -> Iterator[Api]:
    app = create_app(settings, http=server)  # type: ignore[arg-type]
    refusals_described(app)
    validator.show(app)
    yield Api(app, server)
    app.extensions["resource_database"].engine.dispose()


def an_invoice(invoice_id: str, owner: str = "alice", issued_on: str = "2026-11-01") -> Invoice:
    values = {"supplier": "S", "description": "D", "currency": "GBP", "issued_on": issued_on, "due_on": "2026-12-01"}
    return Invoice(id=invoice_id, owner_sub=owner, number=invoice_id.upper(), amount_minor=100, state="open", **values)


def _prepare(url: str) -> None:
    database = Database(url, MIGRATIONS)
    database.upgrade()
    database.engine.dispose()
