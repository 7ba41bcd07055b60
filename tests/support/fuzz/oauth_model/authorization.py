"""Rules of the authorization server's model for the authorization endpoint: a request, a decision, and a code."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall_auth.models.consent import REFRESH
from support.auth_server import RESOURCE, authorize_url, hidden_fields, query
from support.fuzz.oauth_model.state import APPS, PAY, PROFILE, READ, App, Code, Grant, PendingRequest, State, pick


class AuthorizationEndpoint(State):
    """Authorization requests, from the first message to the redirect back to the client."""

    @rule(
        window=st.integers(0, 1),
        app=st.sampled_from(APPS),
        scope=st.sampled_from(["", READ, READ, PROFILE, f"{PROFILE} {READ}", f"{READ} {PAY}", "unknown"]),
        names_uri=st.booleans(),
        by_post=st.booleans(),
    )
    def authorize(self, window: int, app: App, scope: str, names_uri: bool, by_post: bool) -> None:
        here, state = self.windows[window], f"state-{len(self.pending)}-{len(self.codes)}"
        # the loopback port of this request differs from the registered one, so the request must name it
        named = app.redirect_uri if names_uri or app.asks_every_time else None
        url = authorize_url(
            client_id=app.client_id, redirect_uri=named or "-", scope=scope or "-", state=state, resource=RESOURCE
        )
        client = here.browser.client
        response = client.post("/authorize", data=query(url)) if by_post else client.get(url)
        requested = frozenset(scope.split()) or app.scope
        if not requested <= app.scope:
            self._assert_error_redirect(response, app, state, "invalid_scope")
            return
        expires_at = clock.now() + self.settings.request_lifetime
        request = PendingRequest(window, app, requested, named, state, "", expires_at)
        if by_post:
            assert response.status_code == 303
            assert response.location.startswith("/authorize?interaction=")
            request.window = None
            self._keep(request, response)
            return
        self._expect_next_step(request, response)

    @precondition(lambda self: self.pending)
    @rule(which=st.integers(0, 9), window=st.sampled_from([None, None, 0, 1]))
    def resume(self, which: int, window: int | None) -> None:
        request = pick(self.pending, which)
        number = (request.window or 0) if window is None else window
        self._bind(request, number)
        response = self.windows[number].browser.client.get(f"/authorize?interaction={request.name}")
        if number != request.window or not self._is_pending(request):
            self._assert_not_pending(response)
            return
        self._expect_next_step(request, response)

    @precondition(lambda self: self.pending)
    @rule(which=st.integers(0, 9), decision=st.sampled_from(["allow", "allow", "allow", "deny"]), goes_on=st.booleans())
    def decide(self, which: int, decision: str, goes_on: bool) -> None:
        request = pick(self.pending, which)
        self._bind(request, 0)
        here = self.windows[request.window or 0]
        person = here.current_user
        url = f"/consent?interaction={request.name}"
        page = here.browser.client.get(url)
        if not self._is_pending(request):
            assert page.status_code == 400
            return
        if person is None:
            assert page.status_code == 303
            assert page.location == f"/sign-in?interaction={request.name}"
            return
        response = here.browser.client.post(url, data={**hidden_fields(page), "decision": decision})
        assert (response.status_code, response.location) == (303, f"/authorize?interaction={request.name}")
        request.decision, request.decided_by, request.decided_at = decision, person, clock.now()
        request.expires_at = clock.now() + self.settings.request_lifetime
        if decision == "allow" and not request.app.asks_every_time:
            key = (person, request.app.client_id)
            allowed = request.scope | ({REFRESH} if request.app.refreshes else frozenset())
            self.consents[key] = self.consents.get(key, frozenset()) | allowed
        if goes_on:
            self._expect_next_step(request, here.browser.client.get(response.location))

    def _bind(self, request: PendingRequest, window: int) -> None:
        """Give a request that any browser may open to the first one that opens it."""
        if request.window is None and self._is_pending(request):
            request.window = window
            request.expires_at = clock.now() + self.settings.request_lifetime

    def _is_pending(self, request: PendingRequest) -> bool:
        return not request.done and clock.now() < request.expires_at

    def _keep(self, request: PendingRequest, response: TestResponse) -> None:
        request.name = query(response.location)["interaction"]
        if request not in self.pending:
            self.pending.append(request)

    def _expect_next_step(self, request: PendingRequest, response: TestResponse) -> None:
        """Check that the server continues with the step that the request lacks: sign-in, consent, or the redirect."""
        assert request.window is not None
        person, app = self.windows[request.window].current_user, request.app
        if self._was_disconnected(request, person):
            request.done = True
            self._assert_not_pending(response)
            return
        assert response.status_code == 303, response.text
        if person is None:
            assert response.location.startswith("/sign-in?interaction=")
            self._keep(request, response)
            return
        decision = request.decision if request.decided_by == person else None
        consented = self.consents.get((person, app.client_id), frozenset())
        remembered = not app.asks_every_time and request.scope <= consented
        if decision == "deny" or (decision == "allow" and not remembered and not app.asks_every_time):
            # denied, or disconnected after it was allowed
            request.done = True
            self._assert_error_redirect(response, app, request.state, "access_denied")
        elif decision == "allow" or remembered:
            request.done = True
            self._keep_code(request, person, response)
        else:
            assert response.location.startswith("/consent?interaction=")
            self._keep(request, response)

    def _was_disconnected(self, request: PendingRequest, person: str | None) -> bool:
        """Return whether an app that needs a consent each time was disconnected after this decision."""
        if person is None or request.decided_by != person or not request.app.asks_every_time:
            return False
        at = self.disconnected_at.get((person, request.app.client_id), float("-inf"))
        return at >= request.decided_at and clock.now() < at + self.settings.request_lifetime

    def _keep_code(self, request: PendingRequest, person: str, response: TestResponse) -> None:
        parameters = self._redirect_parameters(response, request.app, request.state)
        grant = Grant(person, request.app, request.scope)
        self.grants.append(grant)
        assert parameters["code"] not in {code.value for code in self.codes}
        expires_at = clock.now() + self.settings.code_lifetime
        self.codes.append(Code(grant, parameters["code"], request.named_uri, expires_at))

    def _assert_not_pending(self, response: TestResponse) -> None:
        assert response.status_code == 400
        assert "no longer valid" in response.text

    def _assert_error_redirect(self, response: TestResponse, app: App, state: str, error: str) -> None:
        parameters = self._redirect_parameters(response, app, state)
        assert parameters["error"] == error
        assert "code" not in parameters

    def _redirect_parameters(self, response: TestResponse, app: App, state: str) -> dict[str, str]:
        """Return the parameters of an authorization response.

        Every response has `iss` (RFC 9207 section 2) and the request's `state` (RFC 6749 section 4.1.2).
        """
        assert response.status_code == 303
        assert response.location.startswith(app.redirect_uri + ("&" if "?" in app.redirect_uri else "?"))
        parameters = query(response.location)
        assert (parameters["iss"], parameters["state"]) == (self.settings.issuer, state)
        return parameters
