"""A story of two people and three apps in a hundred days, which fills the databases of a release before a freeze."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import sqlalchemy as sa
from flask import Flask

from rolecall import clock
from rolecall_auth.models.user import User
from rolecall_auth.outbound.cache import Fetched
from rolecall_lab import seeds
from support.auth_server import Server, basic, csrf_token
from support.migrations.frozen import Running, rows

DAY: Final = 86400.0
_PIXEL: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1" + bytes(40)
SCOPES: Final = {
    "invoices:read": "read your invoices – all of them",
    "invoices:pay": "pay your invoices",
    "profile": "see your name and address",
}

BOTH: Final[dict[str, Any]] = {
    "issuer": "http://auth.test",
    "resource": "http://api.test",
    "resource_id": "invoices-api",
    "resource_secret": "resource-secret-of-the-migration-tests",
    "data_key": "data-key-of-the-migration-tests-no-secret-0=",
    "people": {
        "alice": {
            "password": "pässword of alice in the tests",
            "name": "Alice Liddéll",
            "email": "alice@wonderland.test",
            "invoices": ["Nº-3", "Nº-2", "Nº-1"],
            "paid": "Nº-2",
        },
        "zoë": {
            "password": "pässword of zoë in the tests",
            "name": "Zoë Ångström – 張",
            "email": None,
            "invoices": ["RE-2", "RE-1"],
            "paid": "RE-1",
        },
    },
    "clients": {
        "tally": {"name": "Tally’s Zähler 🧮", "secret": "tally-secret-of-the-migration-tests"},
        "tally-native": {"name": "Tally für unterwegs", "secret": None},
        "strict-books": {"name": "O'Hara & Söhne; Bücher", "secret": "strict-books-secret-of-the-migration-tests"},
    },
}
"""The values that a test needs, and that are the same in each database."""


@dataclass(frozen=True)
class App:
    """A client: its redirect URI and its credentials."""

    client_id: str
    redirect_uri: str
    headers: dict[str, str]
    form: dict[str, str]

    def connect(self, auth: Server, username: str, password: str, scope: str) -> dict[str, Any]:
        """Sign in, allow, and redeem the code; return the token response."""
        browser = auth.browser()
        browser.submit("/sign-in", username=username, password=password)
        answer = browser.authorize(client_id=self.client_id, redirect_uri=self.redirect_uri, scope=scope)
        response = auth.redeem(answer["code"], self.headers, redirect_uri=self.redirect_uri, **self.form)
        assert response.status_code == 200, response.text
        return dict(response.json or {})

    def refresh(self, auth: Server, token: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of the response to a refresh."""
        response = auth.post("/token", self.headers, grant_type="refresh_token", refresh_token=token, **self.form)
        return response.status_code, dict(response.json or {})

    def revoke(self, auth: Server, token: str) -> None:
        assert auth.post("/revoke", self.headers, token=token, **self.form).status_code == 200


def apps(known: dict[str, Any]) -> dict[str, App]:
    """Return the three clients of the story, with their secrets from `known`."""
    secrets = {client_id: client["secret"] for client_id, client in known["clients"].items()}
    return {
        "tally": App("tally", "http://tally.test/callback", basic("tally", secrets["tally"]), {}),
        "tally-native": App("tally-native", "http://127.0.0.1:49152/callback", {}, {"client_id": "tally-native"}),
        "strict-books": App(
            "strict-books",
            "http://books.test/callback",
            {},
            {"client_id": "strict-books", "client_secret": secrets["strict-books"]},
        ),
    }


def play(running: Running) -> dict[str, Any]:
    """Play the story in empty databases, from a hundred days ago until now; return the values that a test needs.

    The last rotation is the last event before `time`, so the grace period of the used token has just begun.
    """
    with _plain_secrets():
        auth, clients = running.auth, apps(BOTH)
        alice, zoe = BOTH["people"].items()
        tally, strict = clients["tally"], clients["strict-books"]

        subs, expired = _begin(running, tally)

        _ago(2 * DAY)
        lost = _connect(clients["tally-native"], auth, alice, "invoices:read profile")
        clients["tally-native"].revoke(auth, lost["refresh_token"])

        _ago(DAY)
        strict_used = _connect(strict, auth, zoe, "invoices:read")

        # the new keys sign from 180 seconds before the end; the old keys verify until 180 seconds after it
        _ago(480)
        _command(running.auth.app, "keys", "rotate")

        _ago(220)
        used = _connect(tally, auth, alice, " ".join(SCOPES))
        ended = _connect(tally, auth, zoe, "invoices:read profile")
        _disconnect(auth, zoe[0], zoe[1]["password"])

        _ago(60)
        revoked = _connect(tally, auth, alice, "invoices:read")
        tally.revoke(auth, revoked["access_token"])
        _, strict_live = strict.refresh(auth, strict_used["refresh_token"])
        _register(auth, zoe)

        _ago(0)
        _, live = tally.refresh(auth, used["refresh_token"])
        time = clock.now()
    return {
        "time": time,
        "subs": subs,
        "rows": {
            service: {table: len(entries) for table, entries in rows(database.engine).items()}
            for service, database in running.databases.items()
        },
        "access_token": live["access_token"],
        "access_token_of_the_old_key": used["access_token"],
        "access_token_revoked": revoked["access_token"],
        "access_token_of_the_ended": ended["access_token"],
        "refresh_token": live["refresh_token"],
        "refresh_token_used": used["refresh_token"],
        "refresh_token_of_strict": strict_live["refresh_token"],
        "refresh_token_of_strict_used": strict_used["refresh_token"],
        "refresh_token_expired": expired["refresh_token"],
        "refresh_token_of_the_ended": ended["refresh_token"],
        "refresh_token_revoked": lost["refresh_token"],
    }


def _begin(running: Running, tally: App) -> tuple[dict[str, str], dict[str, Any]]:
    """Create the tables, the people, and the clients; Alice pays an invoice with tokens that have expired since.

    Returns:
        The subjects by username, and the token response.
    """
    _ago(100 * DAY)
    auth, people = running.auth, BOTH["people"]
    _command(auth.app, "db-upgrade")
    _command(running.api, "db-upgrade")
    subs = {username: _sign_up(auth, username, person["password"]) for username, person in people.items()}
    seeds.apply(_seeds(subs), running.databases["auth"], running.databases["resource"], bytes)
    tokens = _connect(tally, auth, ("alice", people["alice"]), " ".join(SCOPES))
    _pay(running, tokens["access_token"], people["alice"]["paid"])
    tally.revoke(auth, tokens["access_token"])
    return subs, tokens


def _connect(app: App, auth: Server, person: tuple[str, dict[str, Any]], scope: str) -> dict[str, Any]:
    return app.connect(auth, person[0], person[1]["password"], scope)


def _ago(seconds: float) -> None:
    clock.set_offset(-seconds)


def _register(auth: Server, person: tuple[str, dict[str, Any]]) -> None:
    """Register a client with a logo and pairwise subjects, and sign a person in; leave a registration token unused."""
    tokens = [
        auth.app.test_cli_runner().invoke(args=["registration-token", "--profile", "openid"]).output.strip()
        for _ in range(2)
    ]
    fetcher, image = auth.services.fetcher, Fetched(_PIXEL, "image/png")
    object.__setattr__(auth.services, "fetcher", SimpleNamespace(get=lambda *_, **__: image))
    metadata = {
        "redirect_uris": ["https://pictures.example/callback"],
        "logo_uri": "https://pictures.example/logo.png",
        "subject_type": "pairwise",
    }
    headers = {"Authorization": f"Bearer {tokens[0]}"}
    registered = auth.app.test_client().post("/register", json=metadata, headers=headers).json
    object.__setattr__(auth.services, "fetcher", fetcher)
    assert registered is not None
    credentials = basic(registered["client_id"], registered["client_secret"])
    client = App(registered["client_id"], metadata["redirect_uris"][0], credentials, {})
    assert "id_token" in _connect(client, auth, person, "openid profile")


def _command(app: Flask, *names: str) -> None:
    result = app.test_cli_runner().invoke(args=list(names))
    assert result.exit_code == 0, result.output


def _sign_up(auth: Server, username: str, password: str) -> str:
    """Create an account, and return its subject."""
    response = auth.browser().submit("/sign-up", username=username, password=password)
    assert response.status_code == 303, response.text
    with auth.services.database.read() as session:
        return session.scalars(sa.select(User.id).where(User.username == username)).one()


def _disconnect(auth: Server, username: str, password: str) -> None:
    browser = auth.browser()
    browser.submit("/sign-in", username=username, password=password)
    form = {"csrf_token": csrf_token(browser.client.get("/apps")), "client_id": "tally"}
    assert browser.client.post("/apps/disconnect", data=form).status_code == 303


def _pay(running: Running, access_token: str, number: str) -> None:
    client, headers = running.api.test_client(), {"Authorization": f"Bearer {access_token}"}
    found = client.get("/invoices", headers=headers).json["invoices"]  # type: ignore[index]
    invoice_id = next(invoice["id"] for invoice in found if invoice["number"] == number)
    assert client.post(f"/invoices/{invoice_id}/payment", headers=headers).status_code == 201


@contextmanager
def _plain_secrets() -> Iterator[None]:
    """Make codes, tokens, and identifiers recognizable as test data; they are as long as real ones."""
    count = itertools.count(1)

    def token_urlsafe(size: int) -> str:
        return f"test-secret-{next(count):031}" if size == 32 else f"test-id-{next(count):014}"

    with patch("secrets.token_urlsafe", token_urlsafe):
        yield


def _seeds(subs: dict[str, str]) -> seeds.Seeds:
    clients = {client_id: {"client_id": client_id, **_client(entry)} for client_id, entry in BOTH["clients"].items()}
    clients["tally"] |= {
        "description": "Reads your invoices; adds them up – 100 % offline?",
        "client_uri": "http://tally.test",
        "token_endpoint_auth_method": "client_secret_basic",
        "redirect_uris": ["http://tally.test/callback"],
        "scope": " ".join(SCOPES),
    }
    clients["tally-native"] |= {
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "redirect_uris": ["http://127.0.0.1/callback", "http://[::1]/callback"],
        "scope": "invoices:read profile",
    }
    clients["strict-books"] |= {
        "token_endpoint_auth_method": "client_secret_post",
        "redirect_uris": ["http://books.test/callback"],
        "scope": "invoices:read",
        "refresh_grace": 0,
    }
    return seeds.Seeds(
        claim_scopes=[{"scope": "groups", "description": "see your groups – all of them", "claims": ["groups"]}],
        people=[
            {"username": username, "sub": subs[username], **{name: who[name] for name in ("password", "name", "email")}}
            for username, who in BOTH["people"].items()
        ],
        resources=[
            {
                "resource_id": BOTH["resource_id"],
                "identifier": BOTH["resource"],
                "name": "Invoices API",
                "secret": BOTH["resource_secret"],
                "scopes": SCOPES,
            }
        ],
        clients=list(clients.values()),
        invoices={
            "alice": [
                _invoice("Nº-3", "Wonderland Tea House", "Tea for three, and a dormouse", 4850, "GBP", "2026-11-02"),
                _invoice("Nº-2", "Queen of Hearts’ Bäckerei", "Forty tarts; 'stolen'", 5600, "GBP", "2026-10-14"),
                _invoice("Nº-1", "白兎時計店", "Repair of a pocket watch ⌚", 7250, "JPY", "2026-09-08"),
            ],
            "zoë": [
                _invoice("RE-2", "Kran & Söhne", "12 m³ Beton", 9_007_199_254_740_993, "EUR", "2026-11-05"),
                _invoice("RE-1", "Autohaus Süd", "50 % Skonto \\ bar", 67210, "EUR", "2026-07-20", "paid"),
            ],
        },
    )


def _client(entry: dict[str, Any]) -> dict[str, Any]:
    return {"client_name": entry["name"], **({"secret": entry["secret"]} if entry["secret"] else {})}


def _invoice(
    number: str, supplier: str, description: str, amount_minor: int, currency: str, issued_on: str, state: str = "open"
) -> dict[str, Any]:
    return {
        "number": number,
        "supplier": supplier,
        "description": description,
        "amount_minor": amount_minor,
        "currency": currency,
        "issued_on": issued_on,
        "due_on": "2026-12-31",
        "state": state,
    }
