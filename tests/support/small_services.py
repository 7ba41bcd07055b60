"""Three small services for the tests of the lab, which only do what the tests record."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urljoin

import requests
from flask import Flask, Response, jsonify, redirect, request, session
from flask.testing import FlaskClient

from rolecall import checks, events
from rolecall.http import HttpClient
from rolecall.settings import ServiceSettings
from rolecall.web.app import create_flask
from rolecall.web.routes import Route, register
from rolecall_lab.wrap import Lab

KEY = "lab-only-key-of-the-keyed-hashes"


def b64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


SECRETS = {
    "password": "wonderland-lab-9",
    "csrf_token": "csrf-IjAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMyI",
    "client_secret": "tally:secret/with+odd=characters%41",
    "resource_secret": "resource-secret-0123456789abcdef",
    "browser_cookie": "cookie-of-another-host-0123456789",
    "interaction": "Int3ractionInt3ractionInt3ractionInt3racti0",
    "code": "C0deC0deC0deC0deC0deC0deC0deC0deC0deC0deC0d",
    "verifier": "Ver1fierVer1fierVer1fierVer1fierVer1fierVer",
    "refresh_token": "Refr3shRefr3shRefr3shRefr3shRefr3shRefr3shR",
    "signature": "S1gnatureS1gnatureS1gnatureS1gnatureS1gnatur",
}
CLAIMS = {"iss": "http://localhost:8001", "sub": "usr_1", "client_id": "tally", "jti": "J7iJ7iJ7iJ7iJ7iJ7iJ7iJ"}
ACCESS_TOKEN = f"{b64({'alg': 'ES256', 'typ': 'at+jwt'})}.{b64(CLAIMS)}.{SECRETS['signature']}"
STATE = "St4teSt4teSt4teSt4teSt4te"

VERIFIER = checks.define("test.code_verifier", "RFC 7636 section 4.6", "invalid_grant", "Wrong verifier.")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Browser(FlaskClient):
    """A test client that reads the whole response and closes it, as every server does."""

    def open(self, *args: Any, **more: Any) -> Any:
        return super().open(*args, buffered=True, **more)


def flask_app(name: str, *routes: Route, trusted_proxies: int = 0) -> Flask:
    app = create_flask(__name__, ServiceSettings(secret_key=f"secret-of-{name}", trusted_proxies=trusted_proxies))
    app.config.update(SESSION_COOKIE_NAME=name, WTF_CSRF_ENABLED=False)
    app.test_client_class = Browser
    register(app, routes)
    return app


def toy(**answer: Any) -> Flask:
    """Return an application with a token endpoint that always returns this JSON."""

    def token() -> Any:
        _ = request.form
        return jsonify(answer)

    return flask_app("auth", Route("token", "/token", ("GET", "POST"), token, "api", "test"))


@dataclass
class SmallServices:
    """Client, authorization server, and resource server, each on its port; `SmallServices.flow` runs the five steps."""

    labs: dict[str, Lab] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    http: HttpClient = field(default_factory=lambda: HttpClient(connect=0.5))

    def routes(self) -> dict[str, tuple[Route, ...]]:
        def page(path: str, view: Any) -> Route:
            return Route(path, path, ("GET", "POST"), view, "page", "test", csrf=False)

        def api(path: str, view: Any) -> Route:
            return Route(path, path, ("GET", "POST"), view, "api", "test")

        return {
            "client": (page("/connect", self._connect), page("/callback", self._callback)),
            "authorization_server": (
                page("/authorize", self._authorize),
                page("/sign-in", self._sign_in),
                api("/token", self._token),
                api("/introspect", self._introspect),
            ),
            "resource_server": (api("/invoices", self._invoices),),
        }

    def flow(self) -> None:
        """Run the flow as a person's browser, with a cookie of another application, and without a trace."""
        cookie = {"Cookie": f"other={SECRETS['browser_cookie']}; auth=old-session-0123456789"}

        def follow(method: str, url: str, **form: str) -> str:
            answer = requests.request(method, url, headers=cookie, data=form, allow_redirects=False, timeout=60)
            return urljoin(url, answer.headers.get("Location", ""))

        authorize = follow("GET", self.urls["client"] + "/connect")
        sign_in = follow("GET", authorize)
        back = follow(
            "POST",
            sign_in,
            username="alice",
            password=SECRETS["password"],
            csrf_token=SECRETS["csrf_token"],
            also_unknown=SECRETS["password"],
        )
        follow("GET", follow("GET", back))

    def written(self) -> None:
        for lab in self.labs.values():
            assert lab.recorder.flush(20)

    def _connect(self) -> Any:
        parameters = {
            "response_type": "code",
            "client_id": "tally",
            "redirect_uri": self.urls["client"] + "/callback",
            "state": STATE,
            "code_challenge": s256(SECRETS["verifier"]),
            "code_challenge_method": "S256",
        }
        return redirect(f"{self.urls['authorization_server']}/authorize?{urlencode(parameters)}", 303)

    def _authorize(self) -> Any:
        events.note("identity", value="tally")
        if "interaction" not in request.args:
            return redirect(f"/sign-in?interaction={SECRETS['interaction']}", 303)
        answer = urlencode({"code": SECRETS["code"], "state": STATE, "iss": self.urls["authorization_server"]})
        return redirect(f"{self.urls['client']}/callback?{answer}", 303)

    def _sign_in(self) -> Any:
        session["user"] = request.form["username"]
        events.note("identity", value="alice")
        events.note("state", store="redis", key="auth:session:4f1a…", change="set", seconds=60)
        return redirect(f"/authorize?interaction={request.args['interaction']}", 303)

    def _callback(self) -> Any:
        form = {
            "grant_type": "authorization_code",
            "code": request.args["code"],
            "code_verifier": SECRETS["verifier"],
        }
        headers = {"Authorization": basic("tally", SECRETS["client_secret"])}
        answer = self.http.send("POST", self.urls["authorization_server"] + "/token", headers=headers, form=form)
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}", "Rolecall-Validator": "introspection"}
        invoices = self.http.send("GET", self.urls["resource_server"] + "/invoices", headers=headers)
        return Response(invoices.headers["rolecall-checks"], mimetype="text/plain")

    def _token(self) -> Any:
        events.note("identity", value="tally")
        challenge = s256(request.form["code_verifier"])
        secret = checks.Secret(request.form["code_verifier"])
        VERIFIER(True, expected=checks.Secret(challenge), actual=secret)
        return jsonify(access_token=ACCESS_TOKEN, refresh_token=SECRETS["refresh_token"], token_type="Bearer")

    def _introspect(self) -> Any:
        events.note("identity", value="invoices")
        return jsonify(active=True, echo=request.form["token"], client_secret=SECRETS["client_secret"], **CLAIMS)

    def _invoices(self) -> Any:
        token = request.headers["Authorization"].partition(" ")[2]
        headers = {"Authorization": basic("invoices", SECRETS["resource_secret"])}
        url = self.urls["authorization_server"] + "/introspect"
        self.http.send("POST", url, headers=headers, form={"token": token})
        VERIFIER.note(True, expected="a token", actual=checks.Secret(token))
        return jsonify(validator=request.environ.get("rolecall.validator"), invoices=[{"number": "2026-001"}])
