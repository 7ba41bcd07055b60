"""Rules of the authorization server's model in which people sign in, sign out, and disconnect an app."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from rolecall import clock
from support.auth_server import PASSWORDS, csrf_token
from support.fuzz.oauth_model.state import APPS, App, State


class People(State):
    """Sessions and withdrawn consents."""

    @rule(
        window=st.integers(0, 1), person=st.sampled_from(sorted(PASSWORDS)), right=st.sampled_from([True, True, False])
    )
    def sign_in(self, window: int, person: str, right: bool) -> None:
        here = self.windows[window]
        page = here.browser.client.get("/sign-in")
        if here.current_user is not None:
            assert (page.status_code, page.location) == (303, "/apps")
            return
        password = PASSWORDS[person] if right else PASSWORDS[person] + "x"
        form = {"csrf_token": csrf_token(page), "username": person, "password": password}
        response = here.browser.client.post("/sign-in", data=form)
        if not right:
            assert response.status_code == 403
            return
        assert (response.status_code, response.location) == (303, "/apps")
        here.person, here.until = person, clock.now() + self.settings.session_lifetime

    @rule(window=st.integers(0, 1), really=st.booleans())
    def sign_out(self, window: int, really: bool) -> None:
        here = self.windows[window]
        if here.current_user is None or not really:
            return
        assert here.browser.submit("/sign-out").status_code == 303
        here.person = None

    @rule(window=st.integers(0, 1), app=st.sampled_from(APPS))
    def disconnect(self, window: int, app: App) -> None:
        """Withdraw the consent, which ends every grant of this person to the app."""
        here = self.windows[window]
        person = here.current_user
        if person is None:
            return
        page = here.browser.client.get("/sign-out")
        form = {"csrf_token": csrf_token(page), "client_id": app.client_id}
        response = here.browser.client.post("/apps/disconnect", data=form)
        assert (response.status_code, response.location) == (303, "/apps")
        self.consents.pop((person, app.client_id), None)
        self.disconnected_at[(person, app.client_id)] = clock.now()
        for grant in self.grants:
            if (grant.person, grant.app) == (person, app):
                grant.ended = True
