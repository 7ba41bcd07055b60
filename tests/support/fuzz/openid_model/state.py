"""The state of the OpenID Provider's model: clients, browsers, consents, subjects, and tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_auth.models.user import User
from support.auth_server import PASSWORDS, Browser
from support.fuzz.machine import Machine
from support.openid import ALICE, RP, SCOPE, relying_party
from support.signing import claims as assertion_claims
from support.signing import jwks, signed

PEOPLE: Final = sorted(PASSWORDS)


@dataclass(eq=False)
class Party:
    """A relying party as the model knows it."""

    client_id: str
    algorithm: str
    pairwise: bool = False
    secret: str = ""
    management: str = ""
    scope: frozenset[str] = frozenset(SCOPE.split())
    ended: bool = False

    @property
    def signs(self) -> bool:
        return self.client_id == "signer"


@dataclass(eq=False)
class Grant:
    """An authorization, created by one allowed request, and the claims that its ID tokens must have."""

    person: str
    party: Party
    scope: frozenset[str]
    auth_time: int
    sid: str = ""
    ended: bool = False


@dataclass(eq=False)
class AccessToken:
    grant: Grant
    value: str
    expires_at: int


@dataclass
class Window:
    """A browser, who is signed in there, and since when."""

    browser: Browser
    person: str = ""
    since: float = 0.0


class State(Machine):
    """The data that all rules share, and the requests that clients send."""

    parties: list[Party]
    windows: list[Window]
    consents: dict[tuple[str, Party], frozenset[str]]
    subjects: dict[tuple[str, Party], str]
    id_tokens: list[tuple[Grant, str]]
    access_tokens: list[AccessToken]
    refresh_tokens: list[tuple[Grant, str]]

    def begin(self) -> None:
        """Start with two clients, people with all claims, and two browsers."""
        super().begin()
        self.parties = [Party("rp", "RS256"), Party("signer", "ES256", pairwise=True)]
        by_key = {"token_endpoint_auth_method": "private_key_jwt", "secret_hash": None, "jwks": jwks("EdDSA")}
        pairwise = {"subject_type": "pairwise", "id_token_signed_response_alg": "ES256"}
        self.server.add(relying_party(), relying_party(client_id="signer", **by_key, **pairwise))
        with self.server.services.database.transaction() as session:
            for person in PEOPLE:
                session.get_one(User, self.server.ids[person]).claims = ALICE
        self.windows = [Window(self.server.browser()), Window(self.server.browser())]
        self.consents = {}
        self.subjects = {}
        self.id_tokens = []
        self.access_tokens = []
        self.refresh_tokens = []

    def _party(self, number: int) -> Party:
        """Return a client; 0 is the newest."""
        return self.parties[-1 - number % len(self.parties)]

    def _current_user(self, here: Window) -> str:
        return here.person if clock.now() < here.since + self.settings.session_lifetime else ""

    def _end(self, matches: Callable[[Grant], bool]) -> None:
        for grant in {token.grant for token in self.access_tokens}:
            grant.ended = grant.ended or matches(grant)

    def _post(self, path: str, party: Party, **form: str) -> TestResponse:
        """Send an authenticated request; a client that signs also replays an assertion, which must fail."""
        headers = RP if party.client_id == "rp" else {}
        if party.signs:
            form["client_assertion_type"] = CLIENT_ASSERTION_TYPE
            form["client_assertion"] = signed(assertion_claims("signer"), "EdDSA")
            assert self.server.post("/revoke", {}, **form, token="none").status_code == 200
            # a used assertion does not authenticate again (RFC 7523 section 3)
            assert self.server.post(path, {}, **form).status_code == 401
            form["client_assertion"] = signed(assertion_claims("signer"), "EdDSA")
        elif party.secret:
            form |= {"client_id": party.client_id, "client_secret": party.secret}
        return self.server.post(path, headers, **form)

    def _manage(self, method: str, party: Party, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {party.management}"}
        path = f"/register/{party.client_id}"
        return self.server.app.test_client().open(path, method=method, headers=headers, **options)
