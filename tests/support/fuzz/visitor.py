"""Who sends the corpus: somebody with a session at each service, with tokens, and with a client of each kind."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall.web.routes import Route
from rolecall_auth.parameters import BY_ENDPOINT
from rolecall_lab.launcher.environment import LAB_ENV, read_env
from rolecall_lab.walker import Page, Walker, connect
from support.fuzz import jwts, metadata
from support.fuzz.corpus import FORM, Request
from support.signing import claims as assertion_claims
from support.signing import jwks, now, signed
from support.stack import Stack, wait_until
from support.tally_pages import tokens_of_a_native_client

CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CALLBACK: Final = "http://localhost:9000/callback"
NATIVE: Final = "http://127.0.0.1:9/callback"
SCOPE: Final = "openid profile email invoices:read invoices:pay"

_IMAGE: Final = "/flows/static/tally.png"
_JSON: Final = {"Content_Type": "application/json"}

_ENDS: Final = {"sign-out", "disconnect", "revoke"}
"""Pages after which there is little left to try; they get no CSRF token but now and then."""

_SELDOM: Final = (
    "resource", "response_mode", "nonce", "prompt", "max_age", "id_token_hint", "login_hint", "acr_values", "claims",
    "display", "ui_locales", "claims_locales",
)  # fmt: skip
"""What an authorization request has only sometimes, so that much else is not refused because of it."""

_OF_A_CODE: Final = {"code", "code_verifier", "redirect_uri", "resource"}
_OF_A_REFRESH: Final = {"refresh_token", "scope", "resource"}

_FIELDS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("auth-service", "sign-in"): ("username", "password"),
    ("auth-service", "sign-up"): ("username", "password"),
    ("auth-service", "consent"): ("decision",),
    ("auth-service", "disconnect"): ("client_id",),
    ("client-webapp", "callback"): ("code", "state", "iss"),
    ("client-webapp", "callback-form"): ("code", "state", "iss"),
    ("client-webapp", "sign-in"): ("again",),
    ("client-webapp", "invoices"): ("check",),
    ("client-webapp", "refresh"): ("check",),
}


@dataclass(frozen=True)
class Party:
    """A client, and how it says which one it is at /token and /revoke."""

    client_id: str
    method: str
    secret: str = ""
    redirect_uri: str = CALLBACK

    def form(self, issuer: str) -> dict[str, str]:
        """The parameters by which it does."""
        if self.method == "client_secret_basic":
            return {}
        if self.method == "private_key_jwt":
            assertion = signed(assertion_claims(self.client_id, aud=issuer), "ES256")
            return {"client_assertion_type": CLIENT_ASSERTION_TYPE, "client_assertion": assertion}
        secret = {"client_secret": self.secret} if self.secret else {}
        return {"client_id": self.client_id, **secret}

    @property
    def authorization(self) -> bytes:
        """The header by which it does; empty for all methods but one."""
        return _basic(self.client_id, self.secret) if self.method == "client_secret_basic" else b""


def register(stack: Stack) -> dict[str, Party]:
    """A client of each way to authenticate; one with a secret has a logo, that with a key a `request_uri`."""
    image = f"{stack.client}{_IMAGE}"
    more: dict[str, dict[str, Any]] = {
        "client_secret_basic": {},
        "client_secret_post": {"logo_uri": image},
        "private_key_jwt": {"jwks": jwks(), "request_uris": [image]},
    }
    parties = {"none": Party("tally-desktop", "none", redirect_uri=NATIVE)}
    for method, members in more.items():
        document = {
            "client_name": f"{method} of the fuzz",
            "redirect_uris": [CALLBACK],
            "scope": SCOPE,
            "token_endpoint_auth_method": method,
            "grant_types": ["authorization_code", "refresh_token"],
            **members,
        }
        status, told = stack.call("POST", f"{stack.auth}/register", json.dumps(document).encode(), **_JSON)
        assert status == 201, told
        parties[method] = Party(told["client_id"], method, told.get("client_secret", ""))
    return parties


@dataclass
class Visitor:
    """Alice, who is believed until she begins to twist."""

    stack: Stack
    parties: dict[str, Party]
    walker: Walker = field(default_factory=Walker)
    known: dict[str, str] = field(default_factory=dict)
    authorizations: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def arrive(cls, stack: Stack, parties: dict[str, Party]) -> Visitor:
        """Sign in, allow, fetch tokens.

        Raises:
            AssertionError, KeyError, RuntimeError: something did not go as it does.
            OSError: nobody answers.
        """
        visitor = cls(stack, parties)
        walker, secrets = visitor.walker, read_env(LAB_ENV)
        connect(walker, stack.client, "alice", "wonderland-lab")
        begun = walker.submit(walker.open(f"{stack.client}/"), f"{stack.client}/sign-in")
        walker.open(visitor.back_from(begun))
        tokens = visitor.tokens(parties["client_secret_basic"])
        bearer = f"Bearer {tokens['access_token']}"
        _, invoices = stack.get(f"{stack.api}/invoices", Authorization=bearer)
        native = tokens_of_a_native_client(stack)
        _, client = stack.call("POST", f"{stack.auth}/register", json.dumps(metadata.GOOD).encode(), **_JSON)
        visitor.known |= {
            "response_type": "code",
            "client_id": "tally-desktop",
            "redirect_uri": NATIVE,
            "scope": "invoices:read",
            "state": "a-state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": stack.api,
            "response_mode": "form_post",
            "nonce": "a-nonce",
            "prompt": "consent",
            "max_age": "3600",
            "id_token_hint": tokens["id_token"],
            "login_hint": "alice",
            "display": "popup",
            "ui_locales": "de en",
            "claims_locales": "ar",
            "acr_values": "urn:mace:incommon:iap:silver phr",
            "claims": '{"userinfo":{"name":null},"id_token":{"email":{"essential":true},"acr":{"values":["0"]}}}',
            "request": visitor.request_object(),
            "request_uri": f"{stack.client}{_IMAGE}",
            "grant_type": "refresh_token",
            "code": "c" * 43,
            "code_verifier": VERIFIER,
            "refresh_token": native["refresh_token"],
            "client_secret": parties["client_secret_post"].secret,
            **parties["private_key_jwt"].form(stack.auth),
            "access_token": tokens["access_token"],
            "token": tokens["access_token"],
            "token_type_hint": "access_token",
            "username": "alice",
            "password": "wonderland-lab",
            "decision": "allow",
            "iss": stack.auth,
            "again": "silent",
            "check": "both",
            "csrf client-webapp": walker.open(f"{stack.client}/invoices").hidden()["csrf_token"],
            "registration": client["client_id"],
            "invoice": invoices["invoices"][0]["id"],
        }
        visitor._may_act()
        visitor._is_asked()
        visitor.authorizations = {
            "introspect": _basic("invoices-api", secrets["RESOURCE_SERVICE_RESOURCE_SECRET"]),
            "userinfo": bearer.encode(),
            "resource-service": bearer.encode(),
            "registration": b"Bearer " + client["registration_access_token"].encode(),
        }
        return visitor

    def authorization_request(self, party: Party, scope: str = "invoices:read") -> str:
        """The address to which this client sends her."""
        asked = {
            "response_type": "code",
            "client_id": party.client_id,
            "redirect_uri": party.redirect_uri,
            "scope": scope,
            "state": "abc",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return f"{self.stack.auth}/authorize?{urllib.parse.urlencode(asked)}"

    def request_object(self, **changes: Any) -> str:
        """What the client with a key asks for, signed."""
        return signed({**self._asked(), **changes}, "ES256")

    def _asked(self) -> dict[str, Any]:
        client_id = self.parties["private_key_jwt"].client_id
        of_the_jwt = {"iss": client_id, "aud": self.stack.auth, "exp": now() + 600, "client_id": client_id}
        asked = {"response_type": "code", "redirect_uri": CALLBACK, "scope": SCOPE, "state": "within"}
        return {**of_the_jwt, **asked, "code_challenge": CHALLENGE, "code_challenge_method": "S256"}

    def back_from(self, page: Page) -> str:
        """Where the authorization server sends her in the end; she signs in and allows, where she is asked.

        What the twisted requests have ended begins anew here.
        """
        for _ in range(20):
            if page.location is None and 'id="login-submit"' in page.text:
                page = self.walker.submit(page, username="alice", password="wonderland-lab")
                self._may_act()
            elif page.location is None:
                page = self.walker.submit(page, decision="allow")
            elif page.location.startswith(self.stack.auth):
                page = self.walker.open(page.location)
            else:
                return page.location
        raise AssertionError(f"no way back: {page.status} at {page.url.partition('?')[0]}")

    def code(self, party: Party, scope: str = SCOPE) -> str:
        """A new one of this client, which remembers that she has allowed it."""
        return _query(self.back_from(self.walker.open(self.authorization_request(party, scope))))["code"]

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
        """Those of a service, as a browser sends them."""
        return _cookies(self.walker, service)

    def request(self, random: Random, service: str, route: Route, host: str) -> Request:
        """What the route is usually sent."""
        method = random.choice(route.methods)
        path = re.sub(r"<[^>]*>", lambda _: self._name(random, service, route), route.path)
        request = Request(method.encode(), path.encode(), [(b"Host", host.encode())])
        if random.random() < 0.7:
            request.put(b"Accept", b"text/html" if route.kind == "page" else b"application/json")
        if service != "resource-service" and random.random() < 0.8:
            request.put(b"Cookie", self.cookies(service))
        names = [parameter.name for parameter in BY_ENDPOINT.get(route.name, ())] if service == "auth-service" else []
        names += _FIELDS.get((service, route.name), ())
        if method == "POST" and route.name == "consent" and random.random() < 0.5:
            self._is_asked()  # whatever she decided before is decided
        form = {name: self.known[name] for name in names if name in self.known}
        if service == "resource-service":
            request.put(b"Authorization", self.authorizations["resource-service"])
        elif service == "auth-service" and route.name in _HOW:
            form = _HOW[route.name](self, random, request, form)
        elif "username" in form and route.name == "sign-up":
            form["username"] = random.choice(("alice", f"fuzz-{random.randrange(10**9)}"))
        elif service == "client-webapp" and route.name in {"callback", "callback-form"} and random.random() < 0.4:
            form |= self._answer(random, request)
        if route.name in {"register", "registration"}:
            return request
        if route.kind == "page" and method == "POST" and (route.name not in _ENDS or random.random() < 0.1):
            form["csrf_token"] = self.known[f"csrf {service}"]
        request.pairs = [(name.encode(), urllib.parse.quote_plus(value).encode()) for name, value in form.items()]
        if method == "POST":
            request.put(b"Content-Type", FORM)
            if route.kind == "page" and "interaction" in form and random.random() < 0.7:
                # the form itself goes into the body all the same
                request.body = b"&".join(name + b"=" + value for name, value in request.pairs)
                request.path += b"?interaction=" + self.known["interaction"].encode()
                request.pairs = []
        return request

    def _may_act(self) -> None:
        """What the pages of her session want to see again in each form."""
        self.known["csrf auth-service"] = self.walker.open(f"{self.stack.auth}/sign-out").hidden().get("csrf_token", "")

    def _is_asked(self) -> None:
        """A client wants something, and waits for her decision."""
        asked = self.walker.open(self.authorization_request(self.parties["none"]))
        self.known["interaction"] = (asked.location or "").rpartition("=")[2]

    def _name(self, random: Random, service: str, route: Route) -> str:
        if route.name == "registration":
            return self.known["registration"]
        if route.name == "logo" and random.random() < 0.8:
            return self.parties["client_secret_post"].client_id
        if service == "resource-service" and random.random() < 0.8:
            return self.known["invoice"]
        return f"INV-{random.randrange(99)}"

    def _authorize(self, random: Random, _request: Request, form: dict[str, str]) -> dict[str, str]:
        party = self.parties[random.choice([*self.parties])]
        if random.random() < 0.9:
            del form["interaction"]
        form = {name: value for name, value in form.items() if name not in _SELDOM or random.random() < 0.2}
        form |= {"client_id": party.client_id, "redirect_uri": party.redirect_uri}
        if party.method != "none":
            form["scope"] = SCOPE
        if random.random() < 0.5 and "prompt" in form:
            form["prompt"] = random.choice(("none", "login", "select_account", "login consent", "none login", "x"))
        for name, often in (("request", 0.9 if party.method == "private_key_jwt" else 0.1), ("request_uri", 0.1)):
            if random.random() > often:
                del form[name]
        if "request" in form and random.random() < 0.6:
            form["request"] = jwts.hostile(random, self._asked(), "oauth-authz-req+jwt")
        return form

    def _client(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        """/token and /revoke: authenticated in one way, or with what belongs to another besides."""
        party = self.parties[random.choice([*self.parties])]
        for name in ("client_id", "client_secret", "client_assertion", "client_assertion_type"):
            if random.random() < 0.9:
                form.pop(name)
        form |= party.form(self.stack.auth)
        if party.authorization:
            request.put(b"Authorization", party.authorization)
        if "client_assertion" in form and random.random() < 0.4:
            claims = assertion_claims(party.client_id, aud=self.stack.auth)
            form["client_assertion"] = jwts.hostile(random, claims, "client-authentication+jwt")
        if party.method != "none" and random.random() < 0.4:
            given = self.tokens(party, "invoices:read")
            form |= {name: given[name] for name in ("refresh_token",) if name in form and name in given}
            if "token" in form:
                form["token"] = given[random.choice(("access_token", "refresh_token"))]
        return form

    def _token(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        form = self._client(random, request, form)
        unusual = _OF_A_CODE
        if random.random() < 0.5:
            form["grant_type"] = "authorization_code"
            unusual = _OF_A_REFRESH
            if random.random() < 0.6:
                party = self.parties[random.choice(("client_secret_basic", "client_secret_post", "private_key_jwt"))]
                form |= {"code": self.code(party), "redirect_uri": party.redirect_uri}
        return {name: value for name, value in form.items() if name not in unusual or random.random() < 0.1}

    def _introspect(self, _random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        request.put(b"Authorization", self.authorizations["introspect"])
        return form

    def _userinfo(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        if request.method == b"POST" and random.random() < 0.5:
            return form
        request.put(b"Authorization", self.authorizations["userinfo"])
        return form if random.random() < 0.1 else {}

    def _register(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        request.put(b"Content-Type", b"application/json")
        if request.method in {b"POST", b"PUT"}:
            request.body = metadata.hostile(random)
        return form

    def _registration(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        own = self.authorizations["registration"]
        # deleted it would be there for nobody any more
        request.put(b"Authorization", own + b"x" if request.method == b"DELETE" else own)
        return self._register(random, request, form)

    def _answer(self, random: Random, request: Request) -> dict[str, str]:
        """What Tally waits for: another of its browsers has been to the authorization server, and comes back."""
        other = Walker()
        button = random.choice(("connect", "sign-in"))
        begun = other.submit(other.open(f"{self.stack.client}/"), f"{self.stack.client}/{button}")
        request.put(b"Cookie", _cookies(other, "client-webapp"))
        return _query(self.back_from(begun))


_HOW: Final = {
    "authorize": Visitor._authorize,
    "token": Visitor._token,
    "revoke": Visitor._client,
    "introspect": Visitor._introspect,
    "userinfo": Visitor._userinfo,
    "register": Visitor._register,
    "registration": Visitor._registration,
}


def _query(url: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def _basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def _cookies(walker: Walker, service: str) -> bytes:
    prefix = {"auth-service": "rolecall_auth", "client-webapp": "rolecall_client"}[service]
    return "; ".join(f"{each.name}={each.value}" for each in walker.cookies if each.name.startswith(prefix)).encode()
