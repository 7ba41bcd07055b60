"""Rules of the OpenID Provider's model for sessions and authentication requests (OpenID Connect Core section 3.1.2)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from hypothesis import strategies as st
from hypothesis.stateful import rule
from werkzeug.test import TestResponse

from rolecall import clock
from support.auth_server import ISSUER, PASSWORDS, authorize_url, csrf_token, hidden_fields, query
from support.fuzz.openid_model.state import PEOPLE, Grant, Party, Window
from support.fuzz.openid_model.tokens import Tokens
from support.openid import CALLBACK

PROMPTS: Final = ("", "", "", "none", "none", "login", "consent", "select_account", "login consent", "none login")


class Authentication(Tokens):
    """Authentication requests with every prompt, age, hint, and response mode, and the sessions they depend on."""

    requests_sent = 0

    @rule(window=st.integers(0, 1))
    def sign_out(self, window: int) -> None:
        here = self.windows[window]
        if self._current_user(here):
            assert here.browser.submit("/sign-out").status_code == 303
            here.person = ""

    @rule(window=st.integers(0, 1), party=st.integers(0, 5))
    def disconnect(self, window: int, party: int) -> None:
        """Withdraw the consent, which ends every grant of this person to the client."""
        here, client = self.windows[window], self._party(party)
        if not (person := self._current_user(here)):
            return
        form = {"csrf_token": csrf_token(here.browser.client.get("/sign-out")), "client_id": client.client_id}
        assert here.browser.client.post("/apps/disconnect", data=form).status_code == 303
        self.consents.pop((person, client), None)
        self._end(lambda grant: grant.person == person and grant.party is client)

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
        here, client = self.windows[window], self._party(party)
        self.requests_sent += 1
        # every request is later than any sign-in before it
        clock.set_offset(clock.offset() + 1)
        number, prompts = self.requests_sent, set(prompt.split())
        state, nonce = f"state-{number}", f"nonce-{number}"
        id_token = self._hint(client, hint)
        url = authorize_url(
            client_id=client.client_id, redirect_uri=CALLBACK, scope=f"openid {scope}".strip(), state=state,
            nonce=nonce, prompt=prompt or "-", max_age="-" if max_age is None else str(max_age), response_mode=mode,
            id_token_hint=id_token[1] if id_token else "-",
        )  # fmt: skip
        browser = here.browser.client
        response = browser.post("/authorize", data=query(url)) if by_post else browser.get(url)
        if client.ended:
            assert response.status_code == 400
            assert "Location" not in response.headers
            return
        if by_post and response.headers.get("Location", "").startswith("/authorize"):
            response = browser.get(response.location)
        wrong_hint = id_token is not None and id_token[0].party is not client
        if wrong_hint or {"none", "login"} <= prompts:
            self._assert_error(response, mode, state, "invalid_request")
            return
        scopes = frozenset({"openid", *scope.split()}) & client.scope  # section 3.1.2.1
        hinted = id_token[0].person if id_token else ""
        if not self._session_suffices(here, prompts, max_age, hinted):
            if "none" in prompts:
                self._assert_error(response, mode, state, "login_required")
                return
            response = self._sign_in(here, response, hinted or person)
        consented = self.consents.get((here.person, client), frozenset())
        if "consent" in prompts or not scopes <= consented:
            if "none" in prompts:
                self._assert_error(response, mode, state, "consent_required")
                return
            response = self._decide(here, response, bool(allows))
            if not allows:
                self._assert_error(response, mode, state, "access_denied")
                return
            self.consents[(here.person, client)] = consented | scopes
        grant = Grant(here.person, client, scopes, int(here.since))
        self._redeem(grant, self._response_parameters(response, mode, state)["code"], nonce)

    def _hint(self, client: Party, hint: int | None) -> tuple[Grant, str] | None:
        """Choose an ID token, mostly one for this client, which may belong to another person."""
        candidates = [each for each in self.id_tokens if not hint or each[0].party is client]
        return candidates[-1 - hint % len(candidates)] if hint is not None and candidates else None

    def _session_suffices(self, here: Window, prompts: set[str], max_age: int | None, hinted: str) -> bool:
        """Return whether the current user can continue without a page (section 3.1.2.3)."""
        person = self._current_user(here)
        if not person or prompts & {"login", "select_account"}:
            return False
        is_recent = max_age is None or clock.now() - here.since <= max_age
        return is_recent and hinted in {"", person}

    def _sign_in(self, here: Window, response: TestResponse, person: str) -> TestResponse:
        page = here.browser.client.get(self._location(response, "/sign-in"))
        form = {"csrf_token": csrf_token(page), "username": person, "password": PASSWORDS[person]}
        redirect = here.browser.client.post(response.location, data=form)
        here.person, here.since = person, clock.now()
        return here.browser.client.get(self._location(redirect, "/authorize"))

    def _decide(self, here: Window, response: TestResponse, allows: bool) -> TestResponse:
        page = here.browser.client.get(self._location(response, "/consent"))
        form = {**hidden_fields(page), "decision": "allow" if allows else "deny"}
        redirect = here.browser.client.post(response.location, data=form)
        return here.browser.client.get(self._location(redirect, "/authorize"))

    @staticmethod
    def _location(response: TestResponse, path: str) -> str:
        assert response.status_code == 303, response.text
        assert urlsplit(response.location).path == path, response.location
        return response.location

    def _response_parameters(self, response: TestResponse, mode: str, state: str) -> dict[str, str]:
        """Return the parameters of an authentication response, sent in the requested response mode."""
        if mode == "form_post":
            assert response.status_code == 200, response.text
            parameters = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', response.text))
        else:
            assert response.status_code == 303, response.text
            assert response.location.startswith(f"{CALLBACK}?"), response.location
            parameters = query(response.location)
        assert (parameters["state"], parameters["iss"]) == (state, ISSUER)
        return parameters

    def _assert_error(self, response: TestResponse, mode: str, state: str, error: str) -> None:
        """Check an authentication error response, which has no code (section 3.1.2.6)."""
        parameters = self._response_parameters(response, mode, state)
        assert (parameters["error"], "code" in parameters) == (error, False)
