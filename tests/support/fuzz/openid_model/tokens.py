"""Rules of the OpenID Provider's model for the token endpoint and the UserInfo endpoint."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall_auth.openid.id_tokens import at_hash
from rolecall_auth.openid.scopes import CLAIMS
from support.auth_server import ISSUER, VERIFIER
from support.fuzz.openid_model.state import AccessToken, Grant, State
from support.openid import CALLBACK, verified

ID_TOKEN_CLAIMS: Final = {"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "amr", "at_hash", "sid"}


class Tokens(State):
    """ID tokens, refresh tokens, and access tokens, and the claims that they give."""

    def _redeem(self, grant: Grant, code: str, nonce: str) -> None:
        """Redeem a code once (OpenID Connect Core section 3.1.3.3)."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        claims = self._keep_tokens(grant, self._post("/token", grant.party, **form))
        assert claims["nonce"] == nonce

    @precondition(lambda self: self.refresh_tokens)
    @rule(which=st.integers(0, 5))
    def refresh(self, which: int) -> None:
        """Refresh; the new ID token describes the same sign-in (OpenID Connect Core section 12.2)."""
        grant, token = self.refresh_tokens.pop(-1 - which % len(self.refresh_tokens))
        response = self._post("/token", grant.party, grant_type="refresh_token", refresh_token=token)
        if grant.party.ended:
            assert (response.status_code, response.json["error"]) == (401, "invalid_client")
        elif grant.ended:
            assert (response.status_code, response.json["error"]) == (400, "invalid_grant")
        else:
            assert "nonce" not in self._keep_tokens(grant, response)

    def _keep_tokens(self, grant: Grant, response: TestResponse) -> dict[str, Any]:
        """Check a token response, and return the claims of its ID token (OpenID Connect Core section 3.1.3.7)."""
        assert response.status_code == 200, response.text
        body, party, now = response.json, grant.party, int(clock.now())
        assert set(body["scope"].split()) == grant.scope
        assert ("refresh_token" in body) == ("offline_access" in grant.scope)
        claims = verified(self.server, body["id_token"], party.client_id)
        assert (claims["iss"], claims["aud"], claims["azp"]) == (ISSUER, party.client_id, party.client_id)
        assert (claims["iat"], claims["auth_time"]) == (now, grant.auth_time)
        assert claims["at_hash"] == at_hash(party.algorithm, body["access_token"])
        assert claims.keys() - {"nonce"} == ID_TOKEN_CLAIMS
        # a person has one subject, or one per client that uses pairwise subjects
        subject = self.subjects.setdefault((grant.person, party), claims["sub"])
        assert claims["sub"] == subject
        assert (subject == self.server.ids[grant.person]) != party.pairwise
        grant.sid = grant.sid or claims["sid"]
        assert claims["sid"] == grant.sid
        self.id_tokens.append((grant, body["id_token"]))
        self.access_tokens.append(AccessToken(grant, body["access_token"], now + self.settings.access_token_lifetime))
        if "refresh_token" in body:
            self.refresh_tokens.append((grant, body["refresh_token"]))
        return claims

    @invariant()
    def userinfo_is_as_the_model_says(self) -> None:
        """Check the claims of allowed scopes, while the grant is active (OpenID Connect Core section 5.3)."""
        for token in getattr(self, "access_tokens", ())[-8:]:
            grant = token.grant
            headers = {"Authorization": f"Bearer {token.value}"}
            response = self.server.app.test_client().get("/userinfo", headers=headers)
            if grant.ended or clock.now() >= token.expires_at:
                assert response.status_code == 401, response.text
                continue
            assert response.status_code == 200, response.text
            assert response.json["sub"] == self.subjects[(grant.person, grant.party)]
            assert response.json.keys() == {"sub", *(name for scope in grant.scope for name in CLAIMS.get(scope, ()))}
