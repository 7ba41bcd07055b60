"""The state of the authorization server's model: clients, browsers, requests, codes, tokens, and consents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from werkzeug.test import TestResponse

from rolecall import clock
from support.auth_server import CALLBACK, SECRET, Browser, a_client, basic
from support.fuzz.machine import Machine

T = TypeVar("T")


@dataclass(frozen=True)
class App:
    """A client as the model knows it."""

    client_id: str
    redirect_uri: str
    scope: frozenset[str]
    method: str = "client_secret_basic"
    grace: int = 10
    refreshes: bool = True
    asks_every_time: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return basic(self.client_id, SECRET) if self.method == "client_secret_basic" else {}

    @property
    def form(self) -> dict[str, str]:
        secret = {"client_secret": SECRET} if self.method == "client_secret_post" else {}
        return {} if self.method == "client_secret_basic" else {"client_id": self.client_id, **secret}

    def row(self) -> Any:
        """Return the client as the authorization server stores it."""
        return a_client(
            client_id=self.client_id,
            client_name=self.client_id,
            application_type="native" if self.asks_every_time else "web",
            token_endpoint_auth_method=self.method,
            secret_hash=None if self.method == "none" else a_client().secret_hash,
            redirect_uris=[self.redirect_uri.replace(":4711", "")],
            grant_types=["authorization_code", *(["refresh_token"] if self.refreshes else [])],
            scope=" ".join(sorted(self.scope)),
            refresh_grace=self.grace,
        )


READ, PAY, PROFILE = "invoices:read", "invoices:pay", "profile"
ALL: Final = frozenset({READ, PAY, PROFILE})
APPS: Final = (
    App("tally", CALLBACK, ALL),
    App("strict", "http://strict.test/callback", frozenset({READ}), "client_secret_post", grace=0),
    App("native", "http://127.0.0.1:4711/callback", frozenset({READ, PROFILE}), "none", asks_every_time=True),
    App("page", "https://page.example/callback?from=here", ALL, "none", refreshes=False),
)


@dataclass(eq=False)
class Grant:
    """An authorization, created by one allowed request."""

    person: str
    app: App
    scope: frozenset[str]
    ended: bool = False


@dataclass(eq=False)
class Code:
    grant: Grant
    value: str
    named_uri: str | None
    expires_at: float
    used_at: float | None = None
    token_responses: int = 0


@dataclass(eq=False)
class RefreshToken:
    grant: Grant
    value: str
    expires_at: float
    family_expires_at: float
    used_at: float | None = None
    successor: RefreshToken | None = None


@dataclass(eq=False)
class AccessToken:
    grant: Grant
    value: str
    scope: frozenset[str]
    expires_at: int
    revoked: bool = False
    seen_inactive: bool = False


@dataclass(eq=False)
class PendingRequest:
    """An authorization request that waits for a person.

    Args:
        window: the browser it belongs to; None while any browser may open it, because another site's form sent it.
    """

    window: int | None
    app: App
    scope: frozenset[str]
    named_uri: str | None
    state: str
    name: str
    expires_at: float
    decision: str | None = None
    decided_by: str | None = None
    decided_at: float = 0.0
    done: bool = False


@dataclass
class Window:
    """A browser, who is signed in there, and until when."""

    browser: Browser
    person: str | None = None
    until: float = 0.0

    @property
    def current_user(self) -> str | None:
        return self.person if clock.now() < self.until else None


class State(Machine):
    """The data that all rules share."""

    windows: list[Window]
    consents: dict[tuple[str, str], frozenset[str]]
    disconnected_at: dict[tuple[str, str], float]
    pending: list[PendingRequest]
    codes: list[Code]
    refresh_tokens: list[RefreshToken]
    access_tokens: list[AccessToken]
    grants: list[Grant]

    def begin(self) -> None:
        """Start with the four clients, two browsers, and nothing else."""
        super().begin()
        self.server.add(*(app.row() for app in APPS if app.client_id != "tally"))
        self.windows = [Window(self.server.browser()), Window(self.server.browser())]
        self.consents = {}
        self.disconnected_at = {}
        self.pending = []
        self.codes = []
        self.refresh_tokens = []
        self.access_tokens = []
        self.grants = []


def pick(items: list[T], which: int) -> T:
    """Return an item; 0 is the newest."""
    return items[-1 - which % len(items)]


def other(app: App) -> App:
    return APPS[(APPS.index(app) + 1) % len(APPS)]


def assert_error(response: TestResponse, error: str) -> None:
    """Check an error response of a back-channel endpoint (RFC 6749 section 5.2)."""
    assert response.status_code == 400, response.text
    assert response.json["error"] == error, response.text
    assert response.headers["Cache-Control"] == "no-store"
    assert "access_token" not in response.json
