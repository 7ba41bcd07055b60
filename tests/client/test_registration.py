"""Tally registers itself if the settings have no client ID (RFC 7591), and can remove its registration (RFC 7592)."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from rolecall import clock
from rolecall_client.registration import LIFETIME, RETRY_AFTER
from rolecall_client.settings import Settings, client_key
from support.tally import ISSUER, METADATA, TOKENS, Tally

ENDPOINT = f"{ISSUER}/register"
MANAGED = f"{ISSUER}/register/abc"
CLIENT = {
    "client_id": "abc",
    "client_secret": "a secret that the provider has generated",
    "client_secret_expires_at": 0,
    "registration_client_uri": MANAGED,
    "registration_access_token": "manages-abc",
}


@pytest.fixture
def unregistered(tally: Tally) -> Tally:
    document = {**METADATA, "registration_endpoint": ENDPOINT}
    tally.http.answers[f"{ISSUER}/.well-known/oauth-authorization-server"] = (200, document, {})
    tally.http.answers[ENDPOINT] = (201, CLIENT, {})
    return tally.again(client_id=None, client_secret=None)


def registrations(tally: Tally) -> int:
    return len(tally.http.to(ENDPOINT))


def test_it_registers_once_and_keeps_the_registration(unregistered: Tally) -> None:
    """RFC 7591 sections 3.1 and 3.2.1."""
    browser = unregistered.browser()
    assert browser.begin()["client_id"] == "abc"
    state = browser.begin()["state"]
    assert browser.come_back(code="c0de", state=state, iss=ISSUER).location == "/invoices"
    [*_, (_, _, headers, _)] = unregistered.http.to(METADATA["token_endpoint"])
    pair = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "abc:a+secret+that+the+provider+has+generated"
    another_process = unregistered.again()
    assert another_process.browser().begin()["client_id"] == "abc"
    assert registrations(unregistered) == 1
    stored = b"".join(unregistered.services.store.client.get(key) or b"" for key in stored_keys(unregistered))
    assert b"secret" not in stored


def stored_keys(tally: Tally) -> list[bytes]:
    return list(tally.services.store.client.keys("*registration:*"))


def test_the_metadata_of_the_registration(unregistered: Tally) -> None:
    """RFC 7591 section 2; the initial access token of section 3.1; a public key instead of a secret."""
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private)), "kid": "one", "alg": "ES256"}
    unregistered.http.answers[ENDPOINT] = (201, {"client_id": "abc"}, {})
    tally = unregistered.again(
        client_auth_method="private_key_jwt",
        client_private_key=client_key(json.dumps(jwk)),
        registration_token="initial-access-token",
    )
    browser = tally.browser()
    state = browser.begin()["state"]
    assert browser.come_back(code="c0de", state=state, iss=ISSUER).location == "/invoices"
    [(_, _, headers, _)] = tally.http.to(ENDPOINT)
    assert headers["Authorization"] == "Bearer initial-access-token"
    [sent] = tally.http.bodies[ENDPOINT]
    metadata = json.loads(sent)
    assert metadata["redirect_uris"] == ["http://tally.test/callback"]
    assert metadata["scope"] == "openid profile email offline_access invoices:read"
    assert metadata["token_endpoint_auth_method"] == "private_key_jwt"
    [public] = metadata["jwks"]["keys"]
    assert public == {name: value for name, value in jwk.items() if name != "d"}
    [(_, _, _, form)] = tally.http.to(METADATA["token_endpoint"])
    claims = jwt.decode(form["client_assertion"], private.public_key(), algorithms=["ES256"], audience=ISSUER)
    assert claims["sub"] == "abc"


def test_only_scopes_that_the_server_lists_are_registered(unregistered: Tally) -> None:
    """RFC 8414 section 2: some servers reject others."""
    document = {**METADATA, "registration_endpoint": ENDPOINT, "scopes_supported": ["openid", "email", 5]}
    unregistered.http.answers[f"{ISSUER}/.well-known/oauth-authorization-server"] = (200, document, {})
    unregistered.browser().begin()
    [sent] = unregistered.http.bodies[ENDPOINT]
    assert json.loads(sent)["scope"] == "openid email"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((400, {"error": "invalid_redirect_uri", "error_description": "No."}, {}), "invalid_redirect_uri: No."),
        ((401, {"error": "invalid_token"}, {}), "invalid_token"),
        ((500, "", {}), "status 500"),
        ((201, {}, {}), "no usable client ID"),
        ((201, {**CLIENT, "client_secret": None}, {}), "no usable client ID"),
        ((201, {**CLIENT, "client_id": "a\nb"}, {}), "no usable client ID"),
        ((201, {**CLIENT, "token_endpoint_auth_method": "tls_client_auth"}, {}), "no usable client ID"),
        ((201, {**CLIENT, "client_secret_expires_at": "soon"}, {}), "no usable client ID"),
        (None, "is not responding"),
    ],
)
def test_a_failed_registration_is_explained_and_not_repeated_at_once(
    unregistered: Tally, answer: Any, says: str
) -> None:
    """RFC 7591 section 3.2.2."""
    unregistered.http.answers[ENDPOINT] = answer
    page = unregistered.browser().press("/connect")
    assert page.status_code in {502, 503}
    assert says in page.text
    assert "less than a minute ago" in unregistered.browser().press("/connect").text
    assert registrations(unregistered) == 1
    unregistered.http.answers[ENDPOINT] = (201, CLIENT, {})
    clock.set_offset(RETRY_AFTER + 1)
    assert unregistered.browser().begin()["client_id"] == "abc"


def test_without_an_endpoint_there_is_no_registration(tally: Tally) -> None:
    page = tally.again(client_id=None, client_secret=None).browser().press("/connect")
    assert (page.status_code, "no registration endpoint" in page.text) == (502, True)


def test_it_registers_again_when_it_is_no_longer_known(unregistered: Tally) -> None:
    """RFC 6749 section 5.2; but not for a registration that is a moment old."""

    def fail() -> None:
        browser = unregistered.browser()
        state = browser.begin()["state"]
        unregistered.http.answers[METADATA["token_endpoint"]] = (401, {"error": "invalid_client"}, {})
        assert "invalid_client" in browser.come_back(code="c0de", state=state, iss=ISSUER).text

    fail()
    assert unregistered.browser().begin()["client_id"] == "abc"
    assert registrations(unregistered) == 1
    clock.set_offset(RETRY_AFTER + 1)
    fail()
    unregistered.http.answers[ENDPOINT] = (201, {**CLIENT, "client_id": "def"}, {})
    unregistered.http.answers[METADATA["token_endpoint"]] = (200, TOKENS, {})
    assert unregistered.browser().begin()["client_id"] == "def"


def test_an_expired_secret_and_an_unused_registration_are_renewed(unregistered: Tally) -> None:
    soon = int(clock.now()) + 3600
    unregistered.http.answers[ENDPOINT] = (201, {**CLIENT, "client_secret_expires_at": soon}, {})
    assert unregistered.browser().begin()["client_id"] == "abc"
    clock.set_offset(3601)
    unregistered.http.answers[ENDPOINT] = (201, {**CLIENT, "client_id": "def"}, {})
    assert unregistered.browser().begin()["client_id"] == "def"
    for days in (200, 400):
        clock.set_offset(days * 86400)
        assert unregistered.browser().begin()["client_id"] == "def", "a registration in use is kept"
    assert registrations(unregistered) == 2
    clock.set_offset(400 * 86400 + LIFETIME + 1)
    unregistered.browser().begin()
    assert registrations(unregistered) == 3


def test_the_commands(unregistered: Tally) -> None:
    """RFC 7592 section 2.3."""
    runner = unregistered.app.test_cli_runner()
    for command in ("registration", "unregister"):
        assert "not registered dynamically" in runner.invoke(args=[command]).output
    unregistered.browser().begin()
    shown = runner.invoke(args=["registration"])
    assert json.loads(shown.output)["client_id"] == "abc"
    assert CLIENT["client_secret"] not in shown.output
    unregistered.http.answers[MANAGED] = (503, "", {})
    failed = runner.invoke(args=["unregister"])
    assert (failed.exit_code, "status 503" in failed.output) == (1, True)
    unregistered.http.answers[MANAGED] = (204, "", {})
    assert "here and at the authorization server" in runner.invoke(args=["unregister"]).output
    [*_, (method, _, headers, _)] = unregistered.http.to(MANAGED)
    assert (method, headers["Authorization"]) == ("DELETE", "Bearer manages-abc")
    assert not stored_keys(unregistered) or "not registered" in runner.invoke(args=["registration"]).output


def test_credentials_need_a_client_id(tally: Tally) -> None:
    own: Settings = tally.services.settings
    assert dataclasses.replace(own, client_id=None).faults() == ["CLIENT_SECRET is set, but CLIENT_ID is not"]
    assert dataclasses.replace(own, client_secret=None).faults() == ["CLIENT_SECRET is not set"]
    assert dataclasses.replace(own, client_auth_method="private_key_jwt").faults() == ["CLIENT_PRIVATE_KEY is not set"]
