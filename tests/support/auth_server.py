"""An authorization server in this process, with its people, clients, and resources, and a browser for it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import redis
import sqlalchemy as sa
from argon2 import PasswordHasher
from cryptography.fernet import Fernet, MultiFernet
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from rolecall import sql
from rolecall.limits import limit
from rolecall.storage import digest
from rolecall_auth import create_app, limits
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.user import User
from rolecall_auth.services import Services, build
from rolecall_auth.settings import Settings
from support.databases import Engines, fresh_database
from support.described import refusals_described

ISSUER = "http://auth.test" + os.environ.get("ROLECALL_TEST_ISSUER_PATH", "")
RESOURCE = "http://api.test"
CALLBACK = "http://tally.test/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SECRET = "tally-secret-of-the-tests-0123456789"
RESOURCE_SECRET = "invoices-secret-of-the-tests-0123456789"
SCOPES = {"invoices:read": "read your invoices", "invoices:pay": "pay them", "profile": "see your name"}
PASSWORDS = {"alice": "wonderland-lab", "bob": "builder-lab"}

# a hash is verified with the parameters stored in it, so a cheap hash makes sign-in cheap
_HASHES = {name: PasswordHasher(1, 64, 1).hash(password) for name, password in PASSWORDS.items()}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


TALLY = basic("tally", SECRET)
INVOICES = basic("invoices-api", RESOURCE_SECRET)


def a_client(**changes: Any) -> Client:
    values: dict[str, Any] = {
        "client_id": "tally",
        "client_name": "Tally",
        "token_endpoint_auth_method": "client_secret_basic",
        "secret_hash": digest(SECRET),
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": "invoices:read invoices:pay profile",
        **changes,
    }
    return Client(**values)


@dataclass
class Server:
    """The application, its dependencies, and shortcuts for tests."""

    app: Flask
    services: Services
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Return the path of the issuer, which is empty in most tests."""
        return self.services.settings.path

    def redis_keys(self, pattern: str) -> list[bytes]:
        keys: list[bytes] = self.services.store.client.keys(f"{self.services.store.prefix}:{pattern}")
        return keys

    @property
    def cookie_name(self) -> str:
        return str(self.app.config["SESSION_COOKIE_NAME"])

    def browser(self) -> Browser:
        return Browser(self.app.test_client())

    def post(self, path: str, headers: dict[str, str] | None = None, **form: str) -> TestResponse:
        return self.app.test_client().post(path, data=form, headers=headers or {})

    def add(self, *rows: Any) -> None:
        with self.services.database.transaction() as session:
            session.add_all(rows)
        self.forget_scopes()

    def forget_scopes(self) -> None:
        """Let the registry read the resources and claim scopes again."""
        self.services.registry._scopes = self.services.registry._scopes._replace(read_at=float("-inf"))

    def remember_since(self, since: int, run_id: str = "") -> None:
        """Mark this Redis, or another one, as complete since then; a new Redis cannot know the used assertions."""
        client = self.services.store.client
        client.set(self.services.replays.marker, f"{run_id or client.info('server')['run_id']} {since}")

    def code(self, *, who: str = "alice", **changes: str) -> str:
        """Sign in, allow, and return the new code."""
        browser = self.browser()
        browser.sign_in(who)
        answer = browser.authorize(**changes)
        return answer["code"]

    def redeem(self, code: str, /, headers: dict[str, str] | None = None, **changes: str) -> TestResponse:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        form |= changes
        form = {name: value for name, value in form.items() if value != "-"}
        return self.post("/token", TALLY if headers is None else headers, **form)

    def refresh(self, token: str, headers: dict[str, str] | None = None, **form: str) -> TestResponse:
        return self.post("/token", headers or TALLY, grant_type="refresh_token", refresh_token=token, **form)

    def tokens(self, **changes: str) -> dict[str, Any]:
        response = self.redeem(self.code(**changes))
        assert response.status_code == 200, response.text
        return dict(response.json or {})

    def introspect(self, token: str) -> dict[str, Any]:
        response = self.post("/introspect", INVOICES, token=token)
        assert response.status_code == 200, response.text
        return dict(response.json or {})

    def is_active(self, token: str) -> bool:
        return bool(self.introspect(token)["active"])


class MountedClient(FlaskClient):
    """A test client that accepts paths with and without the path of the issuer, such as the target of a redirect."""

    def open(self, *args: Any, **more: Any) -> TestResponse:
        path = self.application.config["APPLICATION_ROOT"]
        if args and isinstance(args[0], str) and (args[0].startswith(f"{path}/") or args[0].endswith(path)):
            more.setdefault("base_url", "http://localhost")
        return super().open(*args, **more)


class Browser:
    """A person's browser, with cookies and hidden form fields; it follows no redirect by itself."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def sign_in(self, who: str = "alice", path: str = "/sign-in") -> TestResponse:
        return self.submit(path, username=who, password=PASSWORDS[who])

    def submit(self, path: str, **fields: str) -> TestResponse:
        """Open the page and send its form."""
        page = self.client.get(path)
        return self.client.post(path, data={**hidden_fields(page), **fields})

    def request(self, **changes: str) -> TestResponse:
        return self.client.get(authorize_url(**changes))

    def authorize(self, decision: str = "allow", **changes: str) -> dict[str, str]:
        """Send an authorization request, decide if asked, and return the parameters that are sent to the client."""
        response = self.request(**changes)
        if "/consent" in response.location:
            response = self.submit(response.location, decision=decision)
            response = self.client.get(response.location)
        assert response.status_code == 303, response.text
        return query(response.location)


def another_tab(client: FlaskClient) -> FlaskClient:
    """Return a client with the cookies of this browser, for use in another thread."""
    tab = client.application.test_client()
    copy_cookies(client, tab)
    return tab


def copy_cookies(source: FlaskClient, target: FlaskClient) -> None:
    assert source._cookies is not None
    assert target._cookies is not None
    target._cookies.update(source._cookies)


def csrf_token(page: TestResponse) -> str:
    return hidden_fields(page)["csrf_token"]


def hidden_fields(page: TestResponse) -> dict[str, str]:
    """Return the hidden fields of the page's form."""
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page.text))
    assert "csrf_token" in fields, page.text
    return fields


LIMITS = tuple(row.setting for row in limits.LIMITS)
"""The settings of all limits."""

WIDE: dict[str, Any] = dict.fromkeys(LIMITS, limit("1000000000/minute"))
"""Limits that no test reaches."""


def authorize_url(**changes: str) -> str:
    """Return the URL of a valid request with these changes; a value of "-" omits the parameter."""
    parameters = {
        "response_type": "code",
        "client_id": "tally",
        "redirect_uri": CALLBACK,
        "scope": "invoices:read",
        "state": "st4te",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return "/authorize?" + urlencode({name: value for name, value in parameters.items() if value != "-"})


def query(location: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query, keep_blank_values=True).items()}


def claims(token: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")))


def make_settings(folder: Path, redis_url: str, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "database_url": "" if "database_url" in changes else fresh_database("auth", folder, _prepare),
        "redis_url": redis_url,
        "secret_key": "a secret key of the tests, long enough",
        "data_key": DATA_KEY,
        "log_level": "WARNING",
        "sign_up": "open",
        "registration": "open",
        "registration_profile": "openid",
        "registration_limit": limit("10000/minute"),
        "account_authorization_limit": limit("10000/minute"),
        "lab": True,
        **changes,
    }
    return Settings(**values)


DATA_KEY = MultiFernet([Fernet(Fernet.generate_key())])


def _prepare(url: str) -> None:
    """Migrate, and add keys, people, a client, and a resource; tests copy the result, because RSA keys take time."""
    app = create_app(make_settings(Path("/unused"), "redis://unused", database_url=url))
    services: Services = app.extensions["rolecall_auth"]
    services.database.upgrade()
    services.keys.ensure()
    with services.database.transaction() as session:
        session.add_all([User(username=name, password_hash=_HASHES[name]) for name in PASSWORDS])
        session.add_all(
            [
                a_client(),
                Resource(
                    identifier=RESOURCE,
                    resource_id="invoices-api",
                    name="Invoices",
                    secret_hash=digest(RESOURCE_SECRET),
                    scopes={
                        "invoices:read": "read your invoices",
                        "invoices:pay": "pay them",
                        "profile": "see your name",
                    },
                ),
            ]
        )
    services.database.engine.dispose()


opened: list[Services] = []
"""The services that tests opened and must close."""

engines = Engines()

# 32 threads share 16 connections: on a busy machine, the last may wait longer than the timeout of the service
sql.POOL_TIMEOUT = 60

_applications: dict[Settings, list[Flask]] = {}
"""Applications that no test currently uses, by their settings without the database."""

_in_use: dict[int, Flask] = {}
"""Applications by the identity of their services."""


def another_process(server: Server, **changes: Any) -> Server:
    """Return a server with the same stores and other settings."""
    return Server(*_started(dataclasses.replace(server.services.settings, **changes)), server.ids)


def _started(settings: Settings) -> tuple[Flask, Services]:
    """Create an application, or reuse that of another test, because routes and templates take long to compile."""
    free = _applications.get(dataclasses.replace(settings, database_url=""))
    if free:
        app = free.pop()
        app.extensions["rolecall_settings"] = settings
        app.extensions["rolecall_auth"] = build(settings)
    else:
        app = create_app(settings)
        refusals_described(app)
    app.test_client_class = MountedClient if settings.path else None
    services: Services = app.extensions["rolecall_auth"]
    engines.lend(services.database)
    _in_use[id(services)] = app
    opened.append(services)
    return app, services


def close(services: Services) -> None:
    """Close the connections of an authorization server, and keep its application and its engine for other tests."""
    engines.take_back(services.database)
    services.store.client.close()
    app = _in_use.pop(id(services), None)
    if app is not None and "rolecall_lab" not in app.extensions:  # the lab changes the application
        _applications.setdefault(dataclasses.replace(services.settings, database_url=""), []).append(app)


def with_scope(server: Server, scope: str) -> None:
    """Change the scope that Tally is registered for."""
    with server.services.database.transaction() as session:
        session.get_one(Client, "tally").scope = scope
    server.services.registry.forget("tally")


def make_server(settings: Settings) -> Server:
    server = Server(*_started(settings))
    with server.services.database.read() as session:
        server.ids = {person.username: person.id for person in session.scalars(sa.select(User))}
    with suppress(redis.ConnectionError):  # some tests have no Redis
        server.remember_since(0)
    return server
