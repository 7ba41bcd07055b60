"""The sender of the corpus: a user with a session at each service, with tokens, and with a client of each kind."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Final

from rolecall_lab.launcher.environment import LAB_ENV, read_env
from rolecall_lab.walker import Page, Walker, connect
from support.fuzz import metadata
from support.fuzz.party import CALLBACK, IMAGE, JSON, NATIVE, SCOPE, Party, basic
from support.signing import now, signed
from support.stack import Stack, wait_until
from support.tally_pages import tokens_of_a_native_client

CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

_AUTHORIZATION_REQUEST: Final = {
    "response_type": "code",
    "client_id": "tally-desktop",
    "redirect_uri": NATIVE,
    "scope": "invoices:read",
    "state": "a-state",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "response_mode": "form_post",
    "nonce": "a-nonce",
    "prompt": "consent",
    "max_age": "3600",
    "login_hint": "alice",
    "display": "popup",
    "ui_locales": "de en",
    "claims_locales": "ar",
    "acr_values": "urn:mace:incommon:iap:silver phr",
    "claims": '{"userinfo":{"name":null},"id_token":{"email":{"essential":true},"acr":{"values":["0"]}}}',
}
_TOKEN_REQUEST: Final = {
    "grant_type": "refresh_token",
    "code": "c" * 43,
    "code_verifier": VERIFIER,
    "token_type_hint": "access_token",
}
_FORMS: Final = {
    "username": "alice",
    "password": "wonderland-lab",
    "decision": "allow",
    "again": "silent",
    "check": "both",
}


@dataclass
class Visitor:
    """Alice, whose session, tokens, and parameters are valid until a request is twisted.

    Args:
        known: a valid value for each parameter, by name.
        authorizations: valid Authorization headers, by the route or the service that they are for.
    """

    stack: Stack
    parties: dict[str, Party]
    walker: Walker = field(default_factory=Walker)
    known: dict[str, str] = field(default_factory=dict)
    authorizations: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def arrive(cls, stack: Stack, parties: dict[str, Party]) -> Visitor:
        """Sign in, allow, and fetch tokens.

        Raises:
            AssertionError, KeyError, RuntimeError: a step did not have the expected result.
            OSError: a service does not respond.
        """
        visitor = cls(stack, parties)
        walker, secrets = visitor.walker, read_env(LAB_ENV)
        connect(walker, stack.client, "alice", "wonderland-lab")
        redirect = walker.submit(walker.open(f"{stack.client}/"), f"{stack.client}/sign-in")
        walker.open(visitor.follow(redirect))
        tokens = visitor.tokens(parties["client_secret_basic"])
        bearer = f"Bearer {tokens['access_token']}"
        _, invoices = stack.get(f"{stack.api}/invoices", Authorization=bearer)
        native = tokens_of_a_native_client(stack)
        _, client = stack.call("POST", f"{stack.auth}/register", json.dumps(metadata.GOOD).encode(), **JSON)
        visitor.known |= {
            **_AUTHORIZATION_REQUEST,
            **_TOKEN_REQUEST,
            **_FORMS,
            "resource": stack.api,
            "id_token_hint": tokens["id_token"],
            "request": visitor.request_object(),
            "request_uri": f"{stack.client}{IMAGE}",
            "refresh_token": native["refresh_token"],
            "client_secret": parties["client_secret_post"].secret,
            **parties["private_key_jwt"].form(stack.auth),
            "access_token": tokens["access_token"],
            "token": tokens["access_token"],
            "iss": stack.auth,
            "csrf client-webapp": walker.open(f"{stack.client}/invoices").hidden()["csrf_token"],
            "registration": client["client_id"],
            "invoice": invoices["invoices"][0]["id"],
        }
        visitor.fetch_csrf_token()
        visitor.begin_authorization()
        visitor.authorizations = {
            "introspect": basic("invoices-api", secrets["RESOURCE_SERVICE_RESOURCE_SECRET"]),
            "userinfo": bearer.encode(),
            "resource-service": bearer.encode(),
            "registration": b"Bearer " + client["registration_access_token"].encode(),
        }
        return visitor

    def authorization_request(self, party: Party, scope: str = "invoices:read") -> str:
        """Return the URL of an authorization request of this client."""
        parameters = {
            "response_type": "code",
            "client_id": party.client_id,
            "redirect_uri": party.redirect_uri,
            "scope": scope,
            "state": "abc",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return f"{self.stack.auth}/authorize?{urllib.parse.urlencode(parameters)}"

    def request_object(self) -> str:
        """Return a signed authorization request of the client with `private_key_jwt`."""
        return signed(self.request_claims(), "ES256")

    def request_claims(self) -> dict[str, Any]:
        """Return the claims of a valid request object."""
        client_id = self.parties["private_key_jwt"].client_id
        jwt = {"iss": client_id, "aud": self.stack.auth, "exp": now() + 600, "client_id": client_id}
        request = {"response_type": "code", "redirect_uri": CALLBACK, "scope": SCOPE, "state": "within"}
        return {**jwt, **request, "code_challenge": CHALLENGE, "code_challenge_method": "S256"}

    def follow(self, page: Page) -> str:
        """Follow an authorization request to its end, and return the URL that the user is sent back to.

        Signs in and allows where the pages require it, which also restores a session that a twisted request ended.
        """
        for _ in range(20):
            if page.location is None and 'id="login-submit"' in page.text:
                page = self.walker.submit(page, username="alice", password="wonderland-lab")
                self.fetch_csrf_token()
            elif page.location is None:
                page = self.walker.submit(page, decision="allow")
            elif page.location.startswith(self.stack.auth):
                page = self.walker.open(page.location)
            else:
                return page.location
        raise AssertionError(f"not redirected to the client: {page.status} at {page.url.partition('?')[0]}")

    def code(self, party: Party, scope: str = SCOPE) -> str:
        """Return a new authorization code of this client, whose consent is remembered."""
        return parameters_of(self.follow(self.walker.open(self.authorization_request(party, scope))))["code"]

    def tokens(self, party: Party, scope: str = SCOPE) -> dict[str, Any]:
        """Return the token response for such a code.

        A server whose Redis started in this second responds with 503 to an assertion that may be older (RFC 7523
        section 3, item 7), so the request is sent again, with a new one.
        """
        form = {"grant_type": "authorization_code", "code": self.code(party, scope), "redirect_uri": CALLBACK}
        form["code_verifier"] = VERIFIER
        headers = {"Authorization": party.authorization.decode()} if party.authorization else {}
        responses: list[tuple[int, dict[str, Any]]] = []

        def is_served() -> bool:
            body = urllib.parse.urlencode(form | party.form(self.stack.auth)).encode()
            responses.append(self.stack.call("POST", f"{self.stack.auth}/token", body, **headers))
            return responses[-1][0] != 503

        wait_until(is_served)
        status, response = responses[-1]
        assert status == 200, response
        return response

    def cookies(self, service: str) -> bytes:
        """Return the Cookie header that a browser would send to a service."""
        return cookies(self.walker, service)

    def fetch_csrf_token(self) -> None:
        """Fetch the CSRF token that every form of the current session needs."""
        self.known["csrf auth-service"] = self.walker.open(f"{self.stack.auth}/sign-out").hidden().get("csrf_token", "")

    def begin_authorization(self) -> None:
        """Send an authorization request that waits for a decision."""
        redirect = self.walker.open(self.authorization_request(self.parties["none"]))
        self.known["interaction"] = (redirect.location or "").rpartition("=")[2]


def parameters_of(url: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def cookies(walker: Walker, service: str) -> bytes:
    prefix = {"auth-service": "rolecall_auth", "client-webapp": "rolecall_client"}[service]
    return "; ".join(f"{each.name}={each.value}" for each in walker.cookies if each.name.startswith(prefix)).encode()
