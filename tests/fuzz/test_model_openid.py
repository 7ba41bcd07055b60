"""A model of what an OpenID Provider knows of people and of clients, compared with the server after every step.

Who is signed in where since when, who has allowed what, which client is registered how: from these follows what each
authentication request must come to (OpenID Connect Core section 3.1.2), and what its tokens say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_auth.models.user import User
from rolecall_auth.openid.id_tokens import at_hash
from rolecall_auth.openid.scopes import CLAIMS
from support.auth_server import (
    ISSUER,
    PASSWORDS,
    VERIFIER,
    Browser,
    authorize_url,
    csrf_token,
    query,
)
from support.fuzz.effort import examples
from support.fuzz.machine import Machine, Where, run
from support.openid import ALICE, CALLBACK, RP, SCOPE, relying_party, verified
from support.signing import claims as assertion_claims
from support.signing import jwks, signed

pytestmark = pytest.mark.database

STEPS = 30
PEOPLE = sorted(PASSWORDS)
OF_EVERY_ID_TOKEN = {"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "amr", "at_hash", "sid"}
PROMPTS = ("", "", "", "none", "none", "login", "consent", "select_account", "login consent", "none login")


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
class Given:
    """An authorization: what came of one allowed request, and what its ID tokens must say."""

    person: str
    party: Party
    scope: frozenset[str]
    auth_time: int
    sid: str = ""
    ended: bool = False


@dataclass(eq=False)
class Access:
    given: Given
    value: str
    expires_at: int


@dataclass
class Window:
    """A browser, who is signed in there, and since when."""

    browser: Browser
    person: str = ""
    since: float = 0.0


class Model(Machine):
    """The OpenID Provider."""

    @initialize()
    def start(self) -> None:
        self.begin()
        self.parties = [Party("rp", "RS256"), Party("signer", "ES256", pairwise=True)]
        by_key = {"token_endpoint_auth_method": "private_key_jwt", "secret_hash": None, "jwks": jwks("EdDSA")}
        pairwise = {"subject_type": "pairwise", "id_token_signed_response_alg": "ES256"}
        self.server.add(relying_party(), relying_party(client_id="signer", **by_key, **pairwise))
        with self.server.services.database.transaction() as session:
            for person in PEOPLE:
                session.get_one(User, self.server.ids[person]).claims = ALICE
        self.windows = [Window(self.server.browser()), Window(self.server.browser())]
        self.consents: dict[tuple[str, Party], frozenset[str]] = {}
        self.subjects: dict[tuple[str, Party], str] = {}
        self.hints: list[tuple[Given, str]] = []
        self.accesses: list[Access] = []
        self.refreshes: list[tuple[Given, str]] = []
        self.asked = 0

    # time and people

    @rule(seconds=st.sampled_from([30, 298, 300, 3600, 43_200]))
    def later(self, seconds: int) -> None:
        clock.set_offset(clock.offset() + seconds)

    @rule(window=st.integers(0, 1))
    def sign_out(self, window: int) -> None:
        here = self.windows[window]
        if self._who(here):
            assert here.browser.submit("/sign-out").status_code == 303
            here.person = ""

    @rule(window=st.integers(0, 1), party=st.integers(0, 5))
    def disconnect(self, window: int, party: int) -> None:
        """The consent is taken back: everything that came of it ends."""
        here, which = self.windows[window], self._party(party)
        if not (who := self._who(here)):
            return
        form = {"csrf_token": csrf_token(here.browser.client.get("/sign-out")), "client_id": which.client_id}
        assert here.browser.client.post("/apps/disconnect", data=form).status_code == 303
        self.consents.pop((who, which), None)
        self._end(lambda given: given.person == who and given.party is which)

    # authentication requests

    @rule(
        window=st.integers(0, 1), party=st.integers(0, 5), person=st.sampled_from(PEOPLE),
        allows=st.sampled_from([1, 1, 0]),
        scope=st.sampled_from(["", "profile", "email profile", "address phone", "offline_access", "unheard-of"]),
        prompt=st.sampled_from(PROMPTS), max_age=st.sampled_from([None, None, None, 0, 30, 3600]),
        mode=st.sampled_from(["-", "-", "query", "form_post"]), hint=st.sampled_from([None, None, 0, 1, 2, 3]),
        by_post=st.booleans(),
    )  # fmt: skip
    def authenticate(
        self, window: int, party: int, person: str, allows: int, scope: str, prompt: str, max_age: int | None,
        mode: str, hint: int | None, by_post: bool,
    ) -> None:  # fmt: skip
        here, which = self.windows[window], self._party(party)
        self.asked += 1
        # what is asked for now is later than any sign-in
        clock.set_offset(clock.offset() + 1)
        state, nonce, prompts = f"state-{self.asked}", f"nonce-{self.asked}", set(prompt.split())
        # mostly one of this client's own, be it of somebody else
        hints = [each for each in self.hints if not hint or each[0].party is which]
        token = hints[-1 - hint % len(hints)] if hint is not None and hints else None
        url = authorize_url(
            client_id=which.client_id, redirect_uri=CALLBACK, scope=f"openid {scope}".strip(), state=state, nonce=nonce,
            prompt=prompt or "-", max_age="-" if max_age is None else str(max_age), response_mode=mode,
            id_token_hint=token[1] if token else "-",
        )  # fmt: skip
        client = here.browser.client
        answer = client.post("/authorize", data=query(url)) if by_post else client.get(url)
        if which.ended:
            assert answer.status_code == 400
            assert "Location" not in answer.headers
            return
        if by_post and answer.headers.get("Location", "").startswith("/authorize"):
            answer = client.get(answer.location)
        wrong_hint = token is not None and token[0].party is not which
        if wrong_hint or {"none", "login"} <= prompts:
            self._is_error(answer, mode, state, "invalid_request")
            return
        scopes = self._scopes(which, scope, prompts)
        meant = token[0].person if token else ""
        if not self._will_do(here, prompts, max_age, meant):
            if "none" in prompts:
                self._is_error(answer, mode, state, "login_required")
                return
            answer = self._signs_in(here, answer, meant or person)
        who = here.person
        allowed = self.consents.get((who, which), frozenset())
        if "consent" in prompts or not scopes <= allowed:
            if "none" in prompts:
                self._is_error(answer, mode, state, "consent_required")
                return
            answer = self._decides(here, answer, bool(allows))
            if not allows:
                self._is_error(answer, mode, state, "access_denied")
                return
            self.consents[(who, which)] = allowed | scopes
        given = Given(who, which, scopes, int(here.since))
        self._redeem(given, self._answered(answer, mode, state)["code"], nonce)

    def _will_do(self, here: Window, prompts: set[str], max_age: int | None, meant: str) -> bool:
        """Whether who is signed in there may go on without a page (section 3.1.2.3)."""
        who = self._who(here)
        if not who or prompts & {"login", "select_account"}:
            return False
        is_young = max_age is None or clock.now() - here.since <= max_age
        return is_young and meant in {"", who}

    def _signs_in(self, here: Window, answer: TestResponse, person: str) -> TestResponse:
        page = here.browser.client.get(self._own(answer, "/sign-in"))
        form = {"csrf_token": csrf_token(page), "username": person, "password": PASSWORDS[person]}
        done = here.browser.client.post(answer.location, data=form)
        here.person, here.since = person, clock.now()
        return here.browser.client.get(self._own(done, "/authorize"))

    def _decides(self, here: Window, answer: TestResponse, allows: bool) -> TestResponse:
        page = here.browser.client.get(self._own(answer, "/consent"))
        form = {"csrf_token": csrf_token(page), "decision": "allow" if allows else "deny"}
        done = here.browser.client.post(answer.location, data=form)
        return here.browser.client.get(self._own(done, "/authorize"))

    def _redeem(self, given: Given, code: str, nonce: str) -> None:
        """OpenID Connect Core section 3.1.3.3; a second time it ends what the first time gave."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        told = self._told(given, self._post("/token", given.party, **form))
        assert told["nonce"] == nonce

    @precondition(lambda self: self.refreshes)
    @rule(which=st.integers(0, 5))
    def refresh(self, which: int) -> None:
        """OpenID Connect Core section 12.2: the same sign-in, told anew."""
        given, token = self.refreshes.pop(-1 - which % len(self.refreshes))
        answer = self._post("/token", given.party, grant_type="refresh_token", refresh_token=token)
        if given.party.ended:
            assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
        elif given.ended:
            assert (answer.status_code, answer.json["error"]) == (400, "invalid_grant")
        else:
            assert "nonce" not in self._told(given, answer)

    def _told(self, given: Given, answer: TestResponse) -> dict[str, Any]:
        """What a token response must hold, ID token and all (section 3.1.3.7)."""
        assert answer.status_code == 200, answer.text
        body, party, now = answer.json, given.party, int(clock.now())
        assert set(body["scope"].split()) == given.scope
        assert ("refresh_token" in body) == ("offline_access" in given.scope)
        told = verified(self.server, body["id_token"], party.client_id)
        assert (told["iss"], told["aud"], told["azp"]) == (ISSUER, party.client_id, party.client_id)
        assert (told["iat"], told["auth_time"]) == (now, given.auth_time)
        assert told["at_hash"] == at_hash(party.algorithm, body["access_token"])
        assert told.keys() - {"nonce"} == OF_EVERY_ID_TOKEN
        # one name for a person, and for each client its own where it is to have one
        known = self.subjects.setdefault((given.person, party), told["sub"])
        assert told["sub"] == known
        assert (known == self.server.ids[given.person]) != party.pairwise
        given.sid = given.sid or told["sid"]
        assert told["sid"] == given.sid
        self.hints.append((given, body["id_token"]))
        self.accesses.append(Access(given, body["access_token"], now + self.settings.access_token_lifetime))
        if "refresh_token" in body:
            self.refreshes.append((given, body["refresh_token"]))
        return told

    # clients

    @precondition(lambda self: len(self.parties) < 5)
    @rule(algorithm=st.sampled_from(["RS256", "PS256", "EdDSA"]), pairwise=st.booleans())
    def register(self, algorithm: str, pairwise: bool) -> None:
        """RFC 7591 section 3."""
        metadata = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_post", "scope": SCOPE}
        metadata |= {"id_token_signed_response_alg": algorithm, "subject_type": "pairwise" if pairwise else "public"}
        answer = self.server.app.test_client().post(
            "/register", json={**metadata, "grant_types": ["authorization_code", "refresh_token"]}
        )
        assert answer.status_code == 201, answer.text
        told = dict(answer.json or {})
        secret, management = told["client_secret"], told["registration_access_token"]
        self.parties.append(Party(told["client_id"], algorithm, pairwise, secret, management))

    @rule(party=st.integers(0, 5), without=st.sampled_from(["phone", "email", "offline_access"]), wrong=st.booleans())
    def replace(self, party: int, without: str, wrong: bool) -> None:
        """RFC 7592 section 2.2: all of it anew, or nothing."""
        which = self._party(party)
        if not which.management:
            return
        scope = frozenset(SCOPE.split()) - {without}
        metadata = {
            "client_id": which.client_id, "redirect_uris": [CALLBACK], "scope": " ".join(sorted(scope)),
            "token_endpoint_auth_method": "client_secret_post", "grant_types": ["authorization_code", "refresh_token"],
            "id_token_signed_response_alg": which.algorithm,
            "subject_type": "both" if wrong else "pairwise" if which.pairwise else "public",
        }  # fmt: skip
        answer = self._manage("PUT", which, json=metadata)
        if which.ended:
            assert answer.status_code == 401
        elif wrong:
            assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
        else:
            assert answer.status_code == 200, answer.text
            which.scope = scope

    @rule(party=st.integers(0, 5), really=st.sampled_from([1, 0, 0, 0]))
    def delete(self, party: int, really: int) -> None:
        """RFC 7592 section 2.3: everything of that client ends."""
        which = self._party(party)
        if not which.management or not really:
            return
        assert self._manage("DELETE", which).status_code == (401 if which.ended else 204)
        which.ended = True
        self._end(lambda given: given.party is which)
        self.consents = {key: scopes for key, scopes in self.consents.items() if key[1] is not which}

    @invariant()
    def registrations_are_as_the_model_says(self) -> None:
        """RFC 7592 section 2.1."""
        for which in getattr(self, "parties", ()):
            if which.management:
                answer = self._manage("GET", which)
                assert answer.status_code == (401 if which.ended else 200)
                assert which.ended or frozenset(answer.json["scope"].split()) == which.scope

    @invariant()
    def userinfo_is_as_the_model_says(self) -> None:
        """OpenID Connect Core section 5.3: what was allowed, of whom it was allowed, as long as it is."""
        for access in getattr(self, "accesses", ())[-8:]:
            given = access.given
            answer = self.server.app.test_client().get("/userinfo", headers={"Authorization": f"Bearer {access.value}"})
            if given.ended or clock.now() >= access.expires_at:
                assert answer.status_code == 401, answer.text
                continue
            assert answer.status_code == 200, answer.text
            assert answer.json["sub"] == self.subjects[(given.person, given.party)]
            assert answer.json.keys() == {"sub", *(name for scope in given.scope for name in CLAIMS.get(scope, ()))}

    # shorter words

    def _party(self, number: int) -> Party:
        return self.parties[-1 - number % len(self.parties)]

    def _who(self, here: Window) -> str:
        return here.person if clock.now() < here.since + self.settings.session_lifetime else ""

    def _scopes(self, which: Party, scope: str, prompts: set[str]) -> frozenset[str]:
        """What is asked for and registered; a refresh token only with a consent (sections 3.1.2.1 and 11)."""
        asked = frozenset({"openid", *scope.split()}) & which.scope
        return asked if "consent" in prompts else asked - {"offline_access"}

    def _end(self, matches: Any) -> None:
        for given in {access.given for access in self.accesses}:
            given.ended = given.ended or matches(given)

    def _post(self, path: str, party: Party, **form: str) -> TestResponse:
        headers = RP if party.client_id == "rp" else {}
        if party.signs:
            form["client_assertion_type"] = CLIENT_ASSERTION_TYPE
            form["client_assertion"] = signed(assertion_claims("signer"), "EdDSA")
            assert self.server.post("/revoke", {}, **form, token="none").status_code == 200
            # what was used lets nobody in again (RFC 7523 section 3)
            assert self.server.post(path, {}, **form).status_code == 401
            form["client_assertion"] = signed(assertion_claims("signer"), "EdDSA")
        elif party.secret:
            form |= {"client_id": party.client_id, "client_secret": party.secret}
        return self.server.post(path, headers, **form)

    def _manage(self, method: str, which: Party, **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {which.management}"}
        path = f"/register/{which.client_id}"
        return self.server.app.test_client().open(path, method=method, headers=headers, **more)

    @staticmethod
    def _own(answer: TestResponse, path: str = "/authorize") -> str:
        assert answer.status_code == 303, answer.text
        assert urlsplit(answer.location).path == path, answer.location
        return answer.location

    def _answered(self, answer: TestResponse, mode: str, state: str) -> dict[str, str]:
        """The parameters that go back to the client, in the way that it asked for."""
        if mode == "form_post":
            assert answer.status_code == 200, answer.text
            found = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
        else:
            assert answer.status_code == 303, answer.text
            assert answer.location.startswith(f"{CALLBACK}?"), answer.location
            found = query(answer.location)
        assert (found["state"], found["iss"]) == (state, ISSUER)
        return found

    def _is_error(self, answer: TestResponse, mode: str, state: str, error: str) -> None:
        """Section 3.1.2.6: it changes nothing, and gives nothing."""
        found = self._answered(answer, mode, state)
        assert (found["error"], "code" in found) == (error, False)


def test_the_provider_knows_what_the_model_knows(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenID Connect Core sections 3.1.2, 3.1.3, 5.3, 8, 11 and 12, RFC 7591, RFC 7592, RFC 7523 section 3."""
    times = examples(5, 6 * STEPS)
    run(Model, Where(tmp_path, redis_url), monkeypatch, times=times, steps=STEPS)
