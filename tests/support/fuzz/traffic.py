"""The usual requests of a visitor to each route, before they are twisted."""

from __future__ import annotations

import re
import urllib.parse
from random import Random
from typing import Final

from rolecall.web.routes import Route
from rolecall_auth.parameters import BY_ENDPOINT
from rolecall_lab.walker import Walker
from support.fuzz import jwts, metadata
from support.fuzz.party import SCOPE
from support.fuzz.request import FORM, Request
from support.fuzz.visitor import Visitor, cookies, parameters_of
from support.signing import claims as assertion_claims

_ENDS: Final = {"sign-out", "disconnect", "revoke"}
"""Pages that end a session or tokens; they seldom get a CSRF token, because little works after them."""

_SELDOM: Final = (
    "resource", "response_mode", "nonce", "prompt", "max_age", "id_token_hint", "login_hint", "acr_values", "claims",
    "display", "ui_locales", "claims_locales",
)  # fmt: skip
"""Parameters of few authorization requests, because each is a reason to reject a request before the others matter."""

_CODE_PARAMETERS: Final = {"code", "code_verifier", "redirect_uri", "resource"}
_REFRESH_PARAMETERS: Final = {"refresh_token", "scope", "resource"}

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


class Traffic:
    """The usual requests of a visitor."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._stack = visitor.stack
        self._parties = visitor.parties
        self._known = visitor.known
        self._endpoints = {
            "authorize": self._authorize,
            "token": self._token,
            "revoke": self._authenticated,
            "introspect": self._introspect,
            "userinfo": self._userinfo,
            "register": self._register,
            "registration": self._registration,
        }

    def request(self, random: Random, service: str, route: Route, host: str) -> Request:
        """Return a usual request to a route."""
        method = random.choice(route.methods)
        path = re.sub(r"<[^>]*>", lambda _: self._path_parameter(random, service, route), route.path)
        request = Request(method.encode(), path.encode(), [(b"Host", host.encode())])
        if random.random() < 0.7:
            request.put(b"Accept", b"text/html" if route.kind == "page" else b"application/json")
        if service != "resource-service" and random.random() < 0.8:
            request.put(b"Cookie", self._visitor.cookies(service))
        form = self._form(random, service, route, request)
        if route.name in {"register", "registration"}:
            return request
        if route.kind == "page" and method == "POST" and (route.name not in _ENDS or random.random() < 0.1):
            form["csrf_token"] = self._known[f"csrf {service}"]
        request.pairs = [(name.encode(), urllib.parse.quote_plus(value).encode()) for name, value in form.items()]
        if method == "POST":
            request.put(b"Content-Type", FORM)
            if route.kind == "page" and "interaction" in form and random.random() < 0.7:
                # as the pages send it: the form in the body, and the interaction also in the query
                request.body = b"&".join(name + b"=" + value for name, value in request.pairs)
                request.path += b"?interaction=" + self._known["interaction"].encode()
                request.pairs = []
        return request

    def _form(self, random: Random, service: str, route: Route, request: Request) -> dict[str, str]:
        """Return the parameters for a route, and add the headers and the body that belong to them."""
        names = [parameter.name for parameter in BY_ENDPOINT.get(route.name, ())] if service == "auth-service" else []
        names += _FIELDS.get((service, route.name), ())
        if request.method == b"POST" and route.name == "consent" and random.random() < 0.5:
            self._visitor.begin_authorization()  # the previous request may already have a decision
        form = {name: self._known[name] for name in names if name in self._known}
        if service == "resource-service":
            request.put(b"Authorization", self._visitor.authorizations["resource-service"])
        elif service == "auth-service" and route.name in self._endpoints:
            form = self._endpoints[route.name](random, request, form)
        elif "username" in form and route.name == "sign-up":
            form["username"] = random.choice(("alice", f"fuzz-{random.randrange(10**9)}"))
        elif service == "client-webapp" and route.name in {"callback", "callback-form"} and random.random() < 0.4:
            form |= self._authorization_response(random, request)
        return form

    def _path_parameter(self, random: Random, service: str, route: Route) -> str:
        if route.name == "registration":
            return self._known["registration"]
        if route.name == "logo" and random.random() < 0.8:
            return self._parties["client_secret_post"].client_id
        if service == "resource-service" and random.random() < 0.8:
            return self._known["invoice"]
        return f"INV-{random.randrange(99)}"

    def _authorize(self, random: Random, _request: Request, form: dict[str, str]) -> dict[str, str]:
        party = self._parties[random.choice([*self._parties])]
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
            form["request"] = jwts.hostile(random, self._visitor.request_claims(), "oauth-authz-req+jwt")
        return form

    def _authenticated(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        """Authenticate a client in its own way, or also with the parameters of another way."""
        party = self._parties[random.choice([*self._parties])]
        for name in ("client_id", "client_secret", "client_assertion", "client_assertion_type"):
            if random.random() < 0.9:
                form.pop(name)
        form |= party.form(self._stack.auth)
        if party.authorization:
            request.put(b"Authorization", party.authorization)
        if "client_assertion" in form and random.random() < 0.4:
            claims = assertion_claims(party.client_id, aud=self._stack.auth)
            form["client_assertion"] = jwts.hostile(random, claims, "client-authentication+jwt")
        if party.method != "none" and random.random() < 0.4:
            tokens = self._visitor.tokens(party, "invoices:read")
            form |= {name: tokens[name] for name in ("refresh_token",) if name in form and name in tokens}
            if "token" in form:
                form["token"] = tokens[random.choice(("access_token", "refresh_token"))]
        return form

    def _token(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        form = self._authenticated(random, request, form)
        unusual = _CODE_PARAMETERS
        if random.random() < 0.5:
            form["grant_type"] = "authorization_code"
            unusual = _REFRESH_PARAMETERS
            if random.random() < 0.6:
                party = self._parties[random.choice(("client_secret_basic", "client_secret_post", "private_key_jwt"))]
                form |= {"code": self._visitor.code(party), "redirect_uri": party.redirect_uri}
        return {name: value for name, value in form.items() if name not in unusual or random.random() < 0.1}

    def _introspect(self, _random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        request.put(b"Authorization", self._visitor.authorizations["introspect"])
        return form

    def _userinfo(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        if request.method == b"POST" and random.random() < 0.5:
            return form
        request.put(b"Authorization", self._visitor.authorizations["userinfo"])
        return form if random.random() < 0.1 else {}

    def _register(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        request.put(b"Content-Type", b"application/json")
        if request.method in {b"POST", b"PUT"}:
            request.body = metadata.hostile(random)
        return form

    def _registration(self, random: Random, request: Request, form: dict[str, str]) -> dict[str, str]:
        valid = self._visitor.authorizations["registration"]
        # other requests still need the client, so it must not be deleted
        request.put(b"Authorization", valid + b"x" if request.method == b"DELETE" else valid)
        return self._register(random, request, form)

    def _authorization_response(self, random: Random, request: Request) -> dict[str, str]:
        """Return a valid authorization response for Tally, and add the cookies of the browser that requested it."""
        browser = Walker()
        button = random.choice(("connect", "sign-in"))
        redirect = browser.submit(browser.open(f"{self._stack.client}/"), f"{self._stack.client}/{button}")
        request.put(b"Cookie", cookies(browser, "client-webapp"))
        return parameters_of(self._visitor.follow(redirect))
