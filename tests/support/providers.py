"""Tally at another provider: the application on a port of this machine, and a person who uses both without scripts."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import DefaultCookiePolicy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urljoin

import jwt
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import ec
from werkzeug.serving import make_server

from rolecall_client import create_app
from rolecall_client.settings import Settings
from rolecall_lab.launcher.environment import CLIENT
from rolecall_lab.walker import Page, Walker

TALLY: Final = "http://localhost:8000"
"""Tally's address in the configuration files, which are those of the docs."""


def exported(script: str) -> dict[str, str]:
    """Return the variables of a script that has only lines `export NAME=value`."""
    return dict(word.split("=", 1) for word in shlex.split(script) if word != "export")


@contextmanager
def tally_at(port: int, redis_url: str, variables: str, **more: str) -> Iterator[str]:
    """Run Tally with the settings of the lab; yield its URL. The arguments are those of `tally_settings`."""
    settings = tally_settings(port, redis_url, variables, **more)
    server = make_server("127.0.0.1", port, create_app(settings), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield settings.public_url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tally_settings(port: int, redis_url: str, variables: str, **more: str) -> Settings:
    """Return settings of Tally in the lab.

    Args:
        variables: a script of the docs that exports variables.
        more: further settings, without the prefix.
    """
    environ = {
        "PUBLIC_URL": f"http://localhost:{port}",
        "RESOURCE_URL": "http://localhost:9",
        "REDIS_URL": redis_url,
        "SECRET_KEY": "s" * 32,
        "DATA_KEY": Fernet.generate_key().decode(),
        **{name.removeprefix(CLIENT.prefix): value for name, value in exported(variables).items()},
        **more,
    }
    return Settings.from_environ(environ, lab=True)


def client_keys() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a new private key of Tally for `private_key_jwt`, and its public part, as JWKs."""
    private = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    private |= {"kid": "tally", "alg": "ES256", "use": "sig"}
    return private, {name: value for name, value in private.items() if name != "d"}


@dataclass
class Api:
    """An API that has no invoices, and accepts every token.

    Args:
        tokens: the access tokens that it has received.
    """

    url: str
    tokens: list[str] = field(default_factory=list)


@contextmanager
def invoices_api() -> Iterator[Api]:
    """Run an API for Tally."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.tokens.append(self.headers["Authorization"].removeprefix("Bearer "))
            body = json.dumps({"invoices": []}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = Api(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Form:
    """A form that is sent with POST: its URL, and its fields with their values."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _FirstForm(HTMLParser):
    """A parser for the first form of a page, with all its fields and its first named button."""

    def __init__(self) -> None:
        super().__init__()
        self.form: Form | None = None
        self._is_open = self._has_button = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect forms, inputs, and buttons; the parser calls this method by its name."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.form is None and values.get("method", "").lower() == "post":
            self.form, self._is_open = Form(values.get("action", "")), True
        elif self._is_open and self.form is not None and values.get("name"):
            is_button = tag == "button" or values.get("type") == "submit"
            if tag == "input" and not is_button and values.get("type") != "checkbox":
                self.form.fields[values["name"]] = values.get("value", "")
            elif is_button and not self._has_button:
                self.form.fields[values["name"]] = values.get("value", "")
                self._has_button = True

    def handle_endtag(self, tag: str) -> None:
        """Ignore what follows the form."""
        if tag == "form":
            self._is_open = False


class Visitor(Walker):
    """A person with an account at a provider, who signs in there and allows what Tally requests.

    Args:
        credentials: the values of the fields of the provider's login form.
    """

    def __init__(self, tally: str, credentials: dict[str, str]) -> None:
        super().__init__()
        # as browsers do for localhost, which is a secure context
        self.cookies.set_policy(DefaultCookiePolicy(secure_protocols=("http", "https")))
        self._tally = tally
        self.credentials = credentials
        self.urls: list[str] = []

    def press(self, path: str, page: str = "/", **fields: str) -> Page:
        """Press a button of one of Tally's pages, follow the steps of the provider, and return the last page, of Tally.

        `urls` then has the URL of each page on the way.
        """
        self.urls = []
        token = re.search(r'name="csrf_token" value="([^"]+)"', self.open(self._tally + page).text)
        assert token
        response = self.open(self._tally + path, {"csrf_token": token[1], **fields})
        for _ in range(30):
            self.urls.append(response.url)
            if response.location is not None:
                response = self.open(response.location)
            elif response.url.startswith(self._tally):
                return response
            else:
                response = self._submit_form(response)
        raise AssertionError(f"too many pages: {self.urls}")

    def _submit_form(self, page: Page) -> Page:
        parser = _FirstForm()
        parser.feed(page.text)
        assert parser.form, f"{page.url} returned status {page.status} without a form: {page.text[:2000]}"
        fields = {name: self.credentials.get(name, value) for name, value in parser.form.fields.items()}
        return self.open(urljoin(page.url, parser.form.action), fields)
