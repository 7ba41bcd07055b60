"""Clients with signing keys, and valid and invalid JWTs, for the tests of assertions and request objects."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_auth.models.client import Client
from support.auth_server import DATA_KEY, ISSUER, SECRET, Server, a_client

Key = ECKey | RSAKey | OKPKey

KEYS: dict[str, Key] = {
    "RS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "PS256": RSAKey.generate_key(2048),
    "EdDSA": OKPKey.generate_key("Ed25519"),
}
"""The client's key for each algorithm, whose name is also the `kid`."""


class _Registry(jws.JWSRegistry):
    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


def jwk(name: str, key: Key | None = None, **members: Any) -> dict[str, Any]:
    return {**(key or KEYS[name]).as_dict(private=False), "kid": name, **members}


def jwks(*names: str) -> dict[str, Any]:
    return {"keys": [jwk(name) for name in names or KEYS]}


def signed(claims: Any, algorithm: str = "ES256", *, key: Any = None, text: bytes | None = None, **header: Any) -> str:
    """Return a signed JWT; a header of None omits the member, and `text` replaces the claims, if they are not JSON."""
    members = {"alg": algorithm, "kid": algorithm, **header}
    head = {name: value for name, value in members.items() if value is not None}
    return sign_parts(json.dumps(head).encode(), text or json.dumps(claims).encode(), algorithm, key)


def sign_parts(header: bytes, payload: bytes, algorithm: str, key: Any = None) -> str:
    """Sign any header and payload; joserfc only makes the signature, and does not check them."""
    signing_input = segment(header) + "." + segment(payload)
    signature = _Registry.algorithms[algorithm].sign(signing_input.encode(), key or KEYS[algorithm])
    return f"{signing_input}.{segment(signature)}"


def segment(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def hmac_signed(claims: dict[str, Any], secret: str | bytes, algorithm: str = "HS256", **header: Any) -> str:
    head = segment(json.dumps({"alg": algorithm, **header}).encode())
    text = f"{head}.{segment(json.dumps(claims).encode())}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{text}.{segment(hmac.digest(key, text.encode(), hashlib.new('sha' + algorithm[2:]).name))}"


def changed(claims: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the claims with these changes; a value of None removes the claim."""
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def now() -> int:
    return int(clock.now())


def signer(client_id: str = "signer", **changes: Any) -> Client:
    values = {"client_id": client_id, "token_endpoint_auth_method": "private_key_jwt", "secret_hash": None}
    return a_client(**{**values, "jwks": jwks(), **changes})


def sealer(client_id: str = "sealer", **changes: Any) -> Client:
    sealed = DATA_KEY.encrypt(SECRET.encode())
    values = {"client_id": client_id, "token_endpoint_auth_method": "client_secret_jwt", "secret_hash": None}
    return a_client(**{**values, "secret_sealed": sealed, **changes})


def claims(client_id: str = "signer", /, **changes: Any) -> dict[str, Any]:
    claims.count = getattr(claims, "count", 0) + 1  # type: ignore[attr-defined]
    given = {"iss": client_id, "sub": client_id, "aud": ISSUER, "exp": now() + 60, "iat": now()}
    return changed({**given, "jti": f"jti-{claims.count}"}, changes)  # type: ignore[attr-defined]


def present(server: Server, assertion: str, path: str = "/token", **form: str) -> TestResponse:
    """Send an invalid refresh token with the assertion; 400 `invalid_grant` means that the client was authenticated."""
    values = {"grant_type": "refresh_token", "refresh_token": "none", "token": "none"}
    values |= {"client_assertion_type": CLIENT_ASSERTION_TYPE, "client_assertion": assertion, **form}
    return server.post(path, {}, **{name: value for name, value in values.items() if value != "-"})


def is_in(response: TestResponse) -> bool:
    return response.status_code == 400 and response.json["error"] == "invalid_grant"


def is_refused(response: TestResponse) -> bool:
    """Return whether authentication failed; every cause has the same response (RFC 6749 section 5.2)."""
    told = {"error": "invalid_client", "error_description": "Client authentication failed."}
    return response.status_code == 401 and response.json == told and "WWW-Authenticate" in response.headers


class Keeper:
    """A client's server on loopback, which returns `body` at every path and records the requested paths in `asked`."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.status = 200
        self.asked: list[str] = []
        keeper = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keeper.asked.append(self.path)
                self.send_response(keeper.status)
                self.send_header("Content-Length", str(len(keeper.body)))
                self.end_headers()
                self.wfile.write(keeper.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
