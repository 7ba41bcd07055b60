"""Authlib's client and requests-oauthlib with the running services: registration, sign-in, and use of the tokens.

requests-oauthlib has had no release since 2024, but it is still in use, so it is tested; nothing else here needs it.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata
from flask import Flask
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError
from joserfc.jwk import KeySet, RSAKey
from oauthlib.oauth2 import InvalidGrantError, MismatchingStateError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from rolecall_lab.launcher.environment import LAB_ENV, read_env
from support.browsing import answer_to
from support.stack import Stack

pytestmark = pytest.mark.integration

CALLBACK = "http://127.0.0.1:9/callback"


@pytest.fixture(autouse=True)
def _plain_http_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def metadata(stack: Stack) -> dict[str, Any]:
    """The discovery document, as Authlib's integrations fetch it."""
    relying_party = OAuth(Flask(__name__))
    relying_party.register("rolecall", server_metadata_url=f"{stack.auth}/.well-known/openid-configuration")
    document: dict[str, Any] = relying_party.rolecall.load_server_metadata()
    assert document["issuer"] == stack.auth
    return document


def test_authlib_discovers(metadata: dict[str, Any]) -> None:
    """OpenID Connect Discovery section 4: all members are valid, except that loopback URLs do not use https."""
    found = OpenIDProviderMetadata({name: _with_tls(value) for name, value in metadata.items()})
    found.validate()
    with pytest.raises(ValueError, match="issuer"):
        OpenIDProviderMetadata(metadata | {"issuer": ""}).validate()


def _with_tls(value: Any) -> Any:
    return value.replace("http://", "https://") if isinstance(value, str) else value


def registered(metadata: dict[str, Any], **members: Any) -> dict[str, Any]:
    asked = {
        "redirect_uris": [CALLBACK],
        "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"],
        **members,
    }
    answer = requests.post(metadata["registration_endpoint"], json=asked, timeout=60)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def validated(
    metadata: dict[str, Any], token: dict[str, Any], client_id: str, nonce: str | None, now: int | None = None
) -> dict[str, Any]:
    """Return the claims of an ID token after Authlib's validation (OpenID Connect Core section 3.1.3.7)."""
    keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=60).json())
    decoded = jwt.decode(token["id_token"], keys, algorithms=metadata["id_token_signing_alg_values_supported"])
    options = {
        "iss": {"essential": True, "value": metadata["issuer"]},
        "aud": {"essential": True, "value": client_id},
    }
    known = {"nonce": nonce, "client_id": client_id, "access_token": token["access_token"]}
    claims = CodeIDToken(decoded.claims, decoded.header, options, known)
    claims.validate(now=now)
    return dict(claims)


class Signing:
    """Authlib's client with a private key."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        self.key = RSAKey.generate_key(2048, {"kid": "mine", "use": "sig"})
        keys = {"keys": [self.key.as_dict(private=False)]}
        self.client_id = registered(metadata, token_endpoint_auth_method="private_key_jwt", jwks=keys)["client_id"]
        self.session = self.signs(self.key)
        self.verifier = self.nonce = ""

    def signs(self, key: RSAKey, **claims: Any) -> Any:
        """Return a session that authenticates with this key, and with these claims in its assertions."""
        proof = PrivateKeyJWT(self.metadata["token_endpoint"], claims=claims or None, headers={"kid": "mine"})
        return AuthlibSession(
            self.client_id,
            key.as_pem(private=True),
            token_endpoint_auth_method=proof,
            revocation_endpoint_auth_method=proof,
            redirect_uri=CALLBACK,
            scope="openid profile email offline_access invoices:read",
            code_challenge_method="S256",
        )

    def sent_back(self) -> dict[str, str]:
        """Send a new authorization request; return the arguments for `fetch_token`."""
        self.verifier, self.nonce = generate_token(64), generate_token(20)
        url, state = self.session.create_authorization_url(
            self.metadata["authorization_endpoint"], code_verifier=self.verifier, nonce=self.nonce, prompt="consent"
        )
        return {"authorization_response": answer_to(url)["url"], "state": state, "code_verifier": self.verifier}

    def exchanged(self, session: Any = None, /, **known: str) -> dict[str, Any]:
        return dict((session or self.session).fetch_token(self.metadata["token_endpoint"], **known))


def test_authlib_with_a_key_of_its_own(metadata: dict[str, Any]) -> None:
    """RFC 7523 section 2.2, RFC 7009, RFC 7662."""
    client = Signing(metadata)
    back = client.sent_back()
    assert parse_qs(urlsplit(back["authorization_response"]).query)["iss"] == [metadata["issuer"]]
    token = client.exchanged(**back)
    claims = validated(metadata, token, client.client_id, client.nonce)
    person = client.session.get(metadata["userinfo_endpoint"]).json()
    assert person["sub"] == claims["sub"]
    assert person["preferred_username"] == "alice"

    renewed = client.session.refresh_token(metadata["token_endpoint"])
    again = validated(metadata, renewed, client.client_id, None)
    assert {name: again[name] for name in ("iss", "sub", "aud", "auth_time")} == {
        name: claims[name] for name in ("iss", "sub", "aud", "auth_time")
    }

    api = AuthlibSession("invoices-api", read_env(LAB_ENV)["RESOURCE_SERVICE_RESOURCE_SECRET"])
    ask = metadata["introspection_endpoint"]
    said = api.introspect_token(ask, renewed["access_token"], "access_token").json()
    assert (said["active"], said["sub"], said["client_id"]) == (True, claims["sub"], client.client_id)
    answer = client.session.revoke_token(metadata["revocation_endpoint"], renewed["refresh_token"], "refresh_token")
    assert answer.status_code == 200
    assert api.introspect_token(ask, renewed["access_token"], "access_token").json() == {"active": False}
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.session.refresh_token(metadata["token_endpoint"], renewed["refresh_token"])


def test_authlib_finds_a_bad_id_token(metadata: dict[str, Any]) -> None:
    """OpenID Connect Core sections 3.1.3.7 and 3.1.3.8: another nonce, client, issuer, or token, or too old."""
    client = Signing(metadata)
    token = client.exchanged(**client.sent_back())
    exp = validated(metadata, token, client.client_id, client.nonce)["exp"]
    for faulty in (
        lambda: validated(metadata, token, client.client_id, "another"),
        lambda: validated(metadata, token, "another", client.nonce),
        lambda: validated({**metadata, "issuer": "http://other.test"}, token, client.client_id, client.nonce),
        lambda: validated(metadata, {**token, "access_token": "another"}, client.client_id, client.nonce),
    ):
        with pytest.raises(InvalidClaimError):
            faulty()
    with pytest.raises(ExpiredTokenError):
        validated(metadata, token, client.client_id, client.nonce, now=exp + 1)


def test_authlib_is_refused(metadata: dict[str, Any]) -> None:
    """RFC 6749 section 5.2; an assertion is valid once (RFC 7523 section 3), and only with the client's key."""
    client = Signing(metadata)
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.exchanged(**{**client.sent_back(), "code_verifier": generate_token(64)})
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.exchanged(**client.sent_back(), redirect_uri="http://127.0.0.1:9/other")
    with pytest.raises(OAuthError, match="invalid_client"):
        client.exchanged(client.signs(RSAKey.generate_key(2048)), **client.sent_back())
    again = client.signs(client.key, jti=generate_token(20))
    client.exchanged(again, **client.sent_back())
    with pytest.raises(OAuthError, match="invalid_client"):
        client.exchanged(again, **client.sent_back())


class Secret:
    """requests-oauthlib with a secret; it checks that the state and the scope are those of the request."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        client = registered(metadata, token_endpoint_auth_method="client_secret_basic")
        self.client_id = client["client_id"]
        self.auth = HTTPBasicAuth(self.client_id, client["client_secret"])
        scope = ["openid", "offline_access"]
        self.session = OAuth2Session(self.client_id, redirect_uri=CALLBACK, scope=scope, pkce="S256")
        self.nonce = ""

    def sent_back(self) -> str:
        self.nonce = generate_token(20)
        url, _ = self.session.authorization_url(
            self.metadata["authorization_endpoint"], nonce=self.nonce, prompt="consent"
        )
        return str(answer_to(url)["url"])

    def exchanged(self, back: str) -> dict[str, Any]:
        return dict(
            self.session.fetch_token(
                self.metadata["token_endpoint"], authorization_response=back, include_client_id=False, auth=self.auth
            )
        )


def test_requests_oauthlib_with_a_secret(metadata: dict[str, Any]) -> None:
    client = Secret(metadata)
    token = client.exchanged(client.sent_back())
    claims = validated(metadata, token, client.client_id, client.nonce)
    assert client.session.get(metadata["userinfo_endpoint"]).json() == {"sub": claims["sub"]}
    again = client.session.refresh_token(metadata["token_endpoint"], auth=client.auth)
    assert again["access_token"] != token["access_token"]
    assert validated(metadata, again, client.client_id, None)["sub"] == claims["sub"]


def test_requests_oauthlib_is_refused(metadata: dict[str, Any], stack: Stack, turned: str) -> None:
    """The replay of a code also ends its tokens (RFC 6749 section 4.1.2); codes and tokens expire."""
    client = Secret(metadata)
    userinfo = metadata["userinfo_endpoint"]
    back = client.sent_back()
    with pytest.raises(MismatchingStateError):
        client.exchanged(back.replace("state=", "state=x"))
    # a session forgets its token after an error, so another session keeps it
    keeps = OAuth2Session(client.client_id, token=client.exchanged(back))
    assert keeps.get(userinfo).status_code == 200
    with pytest.raises(InvalidGrantError):
        client.exchanged(back)
    assert keeps.get(userinfo).status_code == 401

    client.exchanged(client.sent_back())
    stack.call("PUT", turned, json.dumps({"advance": 301}).encode())
    assert client.session.get(userinfo).status_code == 401
    back = client.sent_back()
    stack.call("PUT", turned, json.dumps({"advance": 61}).encode())
    with pytest.raises(InvalidGrantError):
        client.exchanged(back)
