"""Rules of the authorization server's model for the token and revocation endpoints."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall_auth.models.code import REPLAY_PERIOD
from support.auth_server import VERIFIER, claims
from support.fuzz.oauth_model.state import (
    PAY,
    PROFILE,
    READ,
    AccessToken,
    Grant,
    RefreshToken,
    State,
    assert_error,
    other,
    pick,
)


class TokenEndpoint(State):
    """Codes and refresh tokens that are redeemed correctly, twice, too late, or by the wrong client."""

    @precondition(lambda self: self.codes)
    @rule(
        which=st.integers(0, 9),
        how=st.sampled_from(
            ["right", "right", "right", "wrong verifier", "no verifier", "wrong uri", "wrong resource", "wrong client"]
        ),
    )
    def redeem(self, which: int, how: str) -> None:
        code = pick(self.codes, which)
        app, grant, now = code.grant.app, code.grant, clock.now()
        form = {"grant_type": "authorization_code", "code": code.value, "code_verifier": VERIFIER}
        if code.named_uri:
            form["redirect_uri"] = code.named_uri
        if how == "wrong client":
            app = other(app)
        form |= app.form
        form |= {
            "wrong verifier": {"code_verifier": "w" * 43},
            "no verifier": {"code_verifier": ""},
            "wrong uri": {"redirect_uri": "http://elsewhere.test/callback"},
            "wrong resource": {"resource": "http://elsewhere.test"},
        }.get(how, {})
        response = self.server.post("/token", app.headers, **form)
        if now >= code.expires_at:
            is_replay = code.used_at is not None and now < code.expires_at + REPLAY_PERIOD
            grant.ended |= is_replay and how != "wrong client"
            assert_error(response, "invalid_grant")
            return
        if how in {"wrong client", "wrong verifier", "wrong uri"}:
            # only the right client with the right request can end a grant
            assert_error(response, "invalid_grant")
            return
        if how == "no verifier":
            assert_error(response, "invalid_request")
            return
        if how == "wrong resource":
            assert_error(response, "invalid_target")
            return
        if code.used_at is not None:
            assert_error(response, "invalid_grant")
            grant.ended = True
            return
        code.used_at = now
        if grant.ended:
            assert_error(response, "invalid_grant")
            return
        code.token_responses += 1
        body = self._keep_tokens(response, grant, grant.scope)
        assert ("refresh_token" in body) == app.refreshes
        if app.refreshes:
            family = now + self.settings.refresh_lifetime
            idle = now + self.settings.refresh_idle_lifetime
            self.refresh_tokens.append(RefreshToken(grant, body["refresh_token"], min(idle, family), family))

    @precondition(lambda self: self.refresh_tokens)
    @rule(
        which=st.integers(0, 9),
        scope=st.sampled_from(["", "", READ, PROFILE, PAY]),
        foreign=st.sampled_from([False, False, False, True]),
    )
    def refresh(self, which: int, scope: str, foreign: bool) -> None:
        token = pick(self.refresh_tokens, which)
        grant, now = token.grant, clock.now()
        app = other(grant.app) if foreign else grant.app
        form = {"grant_type": "refresh_token", "refresh_token": token.value, **app.form}
        response = self.server.post("/token", app.headers, **form, scope=scope)
        if not app.refreshes:
            assert foreign
            assert_error(response, "unauthorized_client")
            return
        if foreign or grant.ended or now >= token.expires_at:
            assert_error(response, "invalid_grant")
            return
        requested = frozenset(scope.split()) or grant.scope
        if not requested <= grant.scope:
            assert_error(response, "invalid_scope")
            return
        if token.used_at is None:
            idle = now + self.settings.refresh_idle_lifetime
            token.used_at = now
            token.successor = RefreshToken(grant, "", min(idle, token.family_expires_at), token.family_expires_at)
            body = self._keep_tokens(response, grant, requested)
            assert body["refresh_token"] not in {each.value for each in self.refresh_tokens}
            token.successor.value = body["refresh_token"]
            self.refresh_tokens.append(token.successor)
            return
        assert token.successor is not None
        if now - token.used_at < app.grace and token.successor.used_at is None:
            body = self._keep_tokens(response, grant, requested)
            assert body["refresh_token"] == token.successor.value
            return
        assert_error(response, "invalid_grant")
        grant.ended = True

    def _keep_tokens(self, response: TestResponse, grant: Grant, scope: frozenset[str]) -> dict[str, Any]:
        assert response.status_code == 200, response.text
        assert response.headers["Cache-Control"] == "no-store"
        body: dict[str, Any] = response.json
        assert body["scope"] == " ".join(sorted(scope))
        expires_at = int(clock.now()) + self.settings.access_token_lifetime
        token = claims(body["access_token"])
        assert (token["exp"], token["sub"]) == (expires_at, self.server.ids[grant.person])
        self.access_tokens.append(AccessToken(grant, body["access_token"], scope, expires_at))
        return body


class RevocationEndpoint(State):
    """Tokens that their client revokes, or that another client tries to revoke."""

    @precondition(lambda self: self.refresh_tokens)
    @rule(which=st.integers(0, 9), foreign=st.sampled_from([False, False, True]))
    def revoke_refresh(self, which: int, foreign: bool) -> None:
        """Revoke a refresh token, which ends the whole grant (RFC 7009 section 2.1)."""
        token = pick(self.refresh_tokens, which)
        app = other(token.grant.app) if foreign else token.grant.app
        response = self.server.post("/revoke", app.headers, token=token.value, **app.form)
        if foreign:
            assert_error(response, "invalid_grant")
            return
        assert response.status_code == 200
        token.grant.ended = True

    @precondition(lambda self: self.access_tokens)
    @rule(which=st.integers(0, 9), foreign=st.sampled_from([False, False, True]))
    def revoke_access(self, which: int, foreign: bool) -> None:
        token = pick(self.access_tokens, which)
        app = other(token.grant.app) if foreign else token.grant.app
        response = self.server.post("/revoke", app.headers, token=token.value, **app.form)
        if foreign and clock.now() < token.expires_at:
            assert_error(response, "invalid_grant")
            return
        assert response.status_code == 200, "RFC 7009 section 2.2: an invalid token is not an error"
        token.revoked = token.revoked or clock.now() < token.expires_at
