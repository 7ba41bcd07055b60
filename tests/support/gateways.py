"""What software needs that guards apps and APIs: an app behind it, tokens for the API, and a user's browser."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from support.foreign import Person, configuration, register
from support.stack import Stack


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"url": self.path, "headers": headers}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@contextmanager
def echo() -> Iterator[str]:
    """Run an app that responds to each request with its `url` and its `headers` (lower case); yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def registered(stack: Stack, file: Path, replacements: dict[str, str]) -> dict[str, str]:
    """Register the client of a JSON file; return the values of CLIENT_ID and CLIENT_SECRET, and the replacements."""
    client = register(stack, **json.loads(configuration(file.read_text(), stack, replacements)))
    return {"CLIENT_ID": client["client_id"], "CLIENT_SECRET": client["client_secret"], **replacements}


class ApiUser:
    """A client of an API, to which Alice grants access (RFC 6749 section 4.1, RFC 7636).

    Args:
        app: where her browser is sent back to; see `echo`.
    """

    def __init__(self, stack: Stack, app: str, scope: str) -> None:
        redirect_uri, verifier = f"{app}/callback", secrets.token_urlsafe(32)
        self._stack = stack
        self._client = register(stack, redirect_uris=[redirect_uri], application_type="native", scope=scope)
        request = {
            "client_id": self._client["client_id"],
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": scope,
            "state": "s",
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        page = Person(stack).visit(f"{stack.auth}/authorize?{urlencode(request)}")
        code = parse_qs(urlsplit(json.loads(page.text)["url"]).query)["code"][0]
        grant = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        status, self.tokens = self._post("/token", **grant, code_verifier=verifier)
        assert status == 200, self.tokens

    def call(self, url: str, token: str | None = None) -> int:
        """Return the status of the API's response to a bearer token, by default the access token."""
        token = self.tokens["access_token"] if token is None else token
        status, _ = self._stack.get(url, Authorization=f"Bearer {token}")
        return status

    def revoke(self) -> None:
        """Revoke the access token (RFC 7009 section 2.1)."""
        status, _ = self._post("/revoke", token=self.tokens["access_token"])
        assert status == 200

    def _post(self, path: str, **form: str) -> tuple[int, dict[str, Any]]:
        credentials = f"{self._client['client_id']}:{self._client['client_secret']}".encode()
        headers = {
            "Authorization": f"Basic {base64.b64encode(credentials).decode()}",
            "Content_Type": "application/x-www-form-urlencoded",
        }
        return self._stack.call("POST", f"{self._stack.auth}{path}", urlencode(form).encode(), **headers)


def tampered(token: str) -> str:
    """Return a JWT with another signature."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
