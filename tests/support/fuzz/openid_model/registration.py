"""Rules of the OpenID Provider's model for clients that register, change, and delete themselves."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from support.fuzz.openid_model.state import Party, State
from support.openid import CALLBACK, SCOPE


class Registration(State):
    """Dynamic registration and its management."""

    @precondition(lambda self: len(self.parties) < 5)
    @rule(algorithm=st.sampled_from(["RS256", "PS256", "EdDSA"]), pairwise=st.booleans())
    def register(self, algorithm: str, pairwise: bool) -> None:
        """Register a client (RFC 7591 section 3)."""
        metadata = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_post", "scope": SCOPE}
        metadata |= {"id_token_signed_response_alg": algorithm, "subject_type": "pairwise" if pairwise else "public"}
        response = self.server.app.test_client().post(
            "/register", json={**metadata, "grant_types": ["authorization_code", "refresh_token"]}
        )
        assert response.status_code == 201, response.text
        body = dict(response.json or {})
        secret, management = body["client_secret"], body["registration_access_token"]
        self.parties.append(Party(body["client_id"], algorithm, pairwise, secret, management))

    @rule(party=st.integers(0, 5), without=st.sampled_from(["phone", "email", "offline_access"]), wrong=st.booleans())
    def replace(self, party: int, without: str, wrong: bool) -> None:
        """Replace all metadata of a client, or nothing if a member is invalid (RFC 7592 section 2.2)."""
        client = self._party(party)
        if not client.management:
            return
        scope = frozenset(SCOPE.split()) - {without}
        metadata = {
            "client_id": client.client_id, "redirect_uris": [CALLBACK], "scope": " ".join(sorted(scope)),
            "token_endpoint_auth_method": "client_secret_post", "grant_types": ["authorization_code", "refresh_token"],
            "id_token_signed_response_alg": client.algorithm,
            "subject_type": "both" if wrong else "pairwise" if client.pairwise else "public",
        }  # fmt: skip
        response = self._manage("PUT", client, json=metadata)
        if client.ended:
            assert response.status_code == 401
        elif wrong:
            assert (response.status_code, response.json["error"]) == (400, "invalid_client_metadata")
        else:
            assert response.status_code == 200, response.text
            client.scope = scope

    @rule(party=st.integers(0, 5), really=st.sampled_from([1, 0, 0, 0]))
    def delete(self, party: int, really: int) -> None:
        """Delete a client, which ends its grants and consents (RFC 7592 section 2.3)."""
        client = self._party(party)
        if not client.management or not really:
            return
        assert self._manage("DELETE", client).status_code == (401 if client.ended else 204)
        client.ended = True
        self._end(lambda grant: grant.party is client)
        self.consents = {key: scopes for key, scopes in self.consents.items() if key[1] is not client}

    @invariant()
    def registrations_are_as_the_model_says(self) -> None:
        """Read every registration (RFC 7592 section 2.1)."""
        for client in getattr(self, "parties", ()):
            if client.management:
                response = self._manage("GET", client)
                assert response.status_code == (401 if client.ended else 200)
                assert client.ended or frozenset(response.json["scope"].split()) == client.scope
