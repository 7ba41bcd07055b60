"""Tally registers itself if the settings have no client ID (RFC 7591), and can remove its registration (RFC 7592)."""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.http import HttpResponse
from rolecall_client.registration import (
    CHECK_AFTER,
    DOUBT_AFTER,
    LIFETIME,
    RETRY_AFTER,
    client_information,
    client_metadata,
)
from rolecall_client.settings import Settings, client_key
from support.auth_server import copy_cookies
from support.parallel import race
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
        ((201, {}, {}), "no usable client_id, token_endpoint_auth_method or client_secret"),
        ((201, {**CLIENT, "client_secret": None}, {}), "no usable token_endpoint_auth_method or client_secret"),
        ((201, {**CLIENT, "client_id": "a\nb"}, {}), "no usable client_id"),
        (
            (201, {**CLIENT, "token_endpoint_auth_method": "tls_client_auth"}, {}),
            "no usable token_endpoint_auth_method",
        ),
        (
            (201, {**CLIENT, "token_endpoint_auth_method": "private_key_jwt"}, {}),
            "no usable token_endpoint_auth_method",
        ),
        ((201, {**CLIENT, "token_endpoint_auth_method": ["x"]}, {}), "no usable token_endpoint_auth_method"),
        ((201, {**CLIENT, "client_secret_expires_at": "soon"}, {}), "no usable client_secret_expires_at"),
        ((201, {**CLIENT, "redirect_uris": ["https://other.test/callback"]}, {}), "no usable redirect_uris"),
        ((201, {**CLIENT, "redirect_uris": 5}, {}), "no usable redirect_uris"),
        ((201, {**CLIENT, "grant_types": ["implicit"]}, {}), "no usable grant_types"),
        ((201, {**CLIENT, "id_token_signed_response_alg": "none"}, {}), "no usable id_token_signed_response_alg"),
        (None, "not respond"),
    ],
)
def test_a_failed_registration_is_explained_and_not_repeated_at_once(
    unregistered: Tally, answer: Any, says: str
) -> None:
    """RFC 7591 sections 3.2.1 and 3.2.2: the server may register values that differ from the request."""
    unregistered.http.answers[ENDPOINT] = answer
    page = unregistered.browser().press("/connect")
    assert page.status_code in {502, 503}
    assert says in page.text or "is not responding" in page.text
    again = unregistered.browser().press("/connect")
    assert "The authorization server rejected the registration" in again.text
    assert says in again.text, "the page still names the cause"
    assert "tries again in a minute" in again.text
    assert registrations(unregistered) == 1
    unregistered.http.answers[ENDPOINT] = (201, CLIENT, {})
    clock.set_offset(RETRY_AFTER + 1)
    assert unregistered.browser().begin()["client_id"] == "abc"


def test_without_an_endpoint_there_is_no_registration(tally: Tally) -> None:
    unregistered = tally.again(client_id=None, client_secret=None)
    for _ in range(2):
        page = unregistered.browser().press("/connect")
        assert (page.status_code, "does not offer client registration" in page.text) == (502, True)


def test_several_workers_register_once(unregistered: Tally) -> None:
    """Without Redis' lock, both would wait for each other at the endpoint, and both would register."""
    workers = [unregistered, unregistered.again()]
    meeting = threading.Barrier(len(workers))
    send = unregistered.http.send

    def meet(method: str, url: str, **message: Any) -> HttpResponse:
        if url == ENDPOINT:
            with suppress(threading.BrokenBarrierError):
                meeting.wait(timeout=0.3)
        return send(method, url, **message)

    unregistered.http.send = meet  # type: ignore[method-assign]
    begun = race([lambda worker=worker: worker.browser().begin() for worker in workers])
    assert [request["client_id"] for request in begun] == ["abc", "abc"]
    assert registrations(unregistered) == 1


def rejected(tally: Tally, **parameters: str) -> TestResponse:
    """Begin a flow that ends with `invalid_client`, from the token endpoint unless there are parameters."""
    browser = tally.browser()
    state = browser.begin()["state"]
    tally.http.answers[METADATA["token_endpoint"]] = (401, {"error": "invalid_client"}, {})
    page = browser.come_back(**({"code": "c0de"} | parameters), state=state, iss=ISSUER)
    tally.http.answers[METADATA["token_endpoint"]] = (200, TOKENS, {})
    tally.http.answers[ENDPOINT] = (201, {**CLIENT, "client_id": "def"}, {})
    assert "invalid_client" in page.text
    return page


@pytest.mark.parametrize(
    ("answer", "expected"),
    [((401, "", {}), "def"), ((200, CLIENT, {}), "abc"), ((404, "", {}), "abc"), ((503, "", {}), "abc"), (None, "abc")],
)
def test_it_registers_again_if_the_server_does_not_know_it(unregistered: Tally, answer: Any, expected: str) -> None:
    """RFC 7592 section 2.1: `invalid_client` can have another cause; 401 cannot."""
    unregistered.browser().begin()
    unregistered.http.answers[MANAGED] = answer
    rejected(unregistered)
    assert unregistered.browser().begin()["client_id"] == expected


def test_a_registration_that_cannot_be_read_is_kept_for_an_hour(unregistered: Tally) -> None:
    unmanaged = {name: value for name, value in CLIENT.items() if not name.startswith("registration")}
    unregistered.http.answers[ENDPOINT] = (201, unmanaged, {})
    rejected(unregistered)
    assert unregistered.browser().begin()["client_id"] == "abc"
    clock.set_offset(DOUBT_AFTER + 1)
    rejected(unregistered)
    assert unregistered.browser().begin()["client_id"] == "def"


def test_a_browser_cannot_end_the_registration(unregistered: Tally) -> None:
    """RFC 6749 section 10.12: a user who starts a flow knows its `state`, and can forge any error response."""
    unmanaged = {name: value for name, value in CLIENT.items() if not name.startswith("registration")}
    unregistered.http.answers[ENDPOINT] = (201, unmanaged, {})
    unregistered.browser().begin()
    clock.set_offset(DOUBT_AFTER + 1)
    rejected(unregistered, error="invalid_client")
    assert unregistered.browser().begin()["client_id"] == "abc"
    assert registrations(unregistered) == 1


def test_a_flow_that_starts_checks_the_registration(unregistered: Tally) -> None:
    """RFC 6749 section 4.1.2.1: the authorization endpoint does not redirect back if it does not know the client."""
    unregistered.browser().begin()
    unregistered.http.answers[MANAGED] = (401, "", {})
    unregistered.browser().begin()
    assert unregistered.http.to(MANAGED) == [], "it was registered a moment ago"
    clock.set_offset(CHECK_AFTER + 1)
    unregistered.http.answers[ENDPOINT] = (201, {**CLIENT, "client_id": "def"}, {})
    assert unregistered.browser().begin()["client_id"] == "def"
    [(method, _, headers, _)] = unregistered.http.to(MANAGED)
    assert (method, headers["Authorization"]) == ("GET", "Bearer manages-abc")


def test_credentials_that_the_server_rotates_are_kept(unregistered: Tally) -> None:
    """RFC 7592 sections 2.1 and 3."""
    unregistered.browser().begin()
    clock.set_offset(CHECK_AFTER + 1)
    rotated = {"client_id": "abc", "client_secret": "another", "registration_access_token": "another-token"}
    unregistered.http.answers[MANAGED] = (200, rotated, {})
    unregistered.browser().connect()
    [(_, _, headers, _)] = unregistered.http.to(METADATA["token_endpoint"])
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"abc:another"
    clock.set_offset(2 * CHECK_AFTER + 2)
    unregistered.browser().begin()
    assert unregistered.http.to(MANAGED)[-1][2]["Authorization"] == "Bearer another-token"


def test_codes_and_tokens_of_an_earlier_registration_are_not_used(unregistered: Tally) -> None:
    """RFC 6749 sections 4.1.3 and 6: they are bound to the client ID."""
    connected, waiting = unregistered.browser(), unregistered.browser()
    connected.connect()
    state = waiting.begin()["state"]
    clock.set_offset(CHECK_AFTER + 1)
    unregistered.http.answers[MANAGED] = (401, "", {})
    unregistered.http.answers[ENDPOINT] = (201, {**CLIENT, "client_id": "def"}, {})
    unregistered.browser().begin()
    asked = len(unregistered.http.to(METADATA["token_endpoint"]))
    page = waiting.come_back(code="c0de", state=state, iss=ISSUER)
    assert (page.status_code, "Tally has registered itself again" in page.text) == (400, True)
    for button in ("/refresh", "/revoke"):
        assert "Tally has registered itself again" in connected.press(button, "/invoices").text
    assert connected.press("/disconnect", "/invoices").location == "/"
    assert "could not revoke them" in connected.client.get("/").text
    assert len(unregistered.http.to(METADATA["token_endpoint"])) == asked
    assert unregistered.http.to(METADATA["revocation_endpoint"]) == []


def test_a_flow_continues_in_a_process_that_has_cached_an_earlier_registration(unregistered: Tally) -> None:
    second = unregistered.again()
    second.browser().begin()
    unregistered.http.answers[MANAGED] = (204, "", {})
    unregistered.app.test_cli_runner().invoke(args=["unregister"])
    unregistered.http.answers[ENDPOINT] = (201, {**CLIENT, "client_id": "def"}, {})
    browser = unregistered.browser()
    asked = browser.begin()
    assert asked["client_id"] == "def"
    tab = second.browser()
    copy_cookies(browser.client, tab.client)
    assert tab.come_back(code="c0de", state=asked["state"], iss=ISSUER).location == "/invoices"


def test_other_settings_have_a_registration_of_their_own(unregistered: Tally) -> None:
    """RFC 7591 section 2: the server compares redirect URIs with the registered ones."""
    assert unregistered.browser().begin()["client_id"] == "abc"
    changed = {**CLIENT, "client_id": "def", "redirect_uris": ["http://moved.test/callback"]}
    unregistered.http.answers[ENDPOINT] = (201, changed, {})
    moved = unregistered.again(public_url="http://moved.test")
    with moved.app.test_request_context():
        assert moved.services.runner.registration.settings().client_id == "def"
    assert unregistered.again().browser().begin()["client_id"] == "abc"


@pytest.mark.parametrize(
    "changes",
    [
        {"registration_client_uri": "http://auth.test/register/abc"},
        {"registration_client_uri": 5},
        {"registration_access_token": "a\nb"},
        {"registration_access_token": None},
    ],
)
def test_an_unusable_way_to_manage_the_registration_is_not_used(tally: Tally, changes: dict[str, Any]) -> None:
    """RFC 7592 section 3; outside of the lab, a token is never sent without TLS (RFC 6750 section 5.3)."""
    settings = dataclasses.replace(tally.services.settings, lab=False)
    managed = {**client_metadata(settings), **CLIENT, "registration_client_uri": "https://auth.test/register/abc"}
    assert client_information(managed, settings) == managed
    assert (
        client_information(managed | changes, settings)
        .keys()
        .isdisjoint({"registration_client_uri", "registration_access_token"})
    )


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
    assert "not registered dynamically" in runner.invoke(args=["registration"]).output


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "here and at the authorization server"), (405, "cannot delete it"), (501, "cannot delete it")],
)
def test_unregister_removes_what_the_server_does_not_delete(unregistered: Tally, status: int, says: str) -> None:
    """RFC 7592 section 2.3: 401 if the client does not exist, 405 if the server does not delete registrations."""
    unregistered.browser().begin()
    unregistered.http.answers[MANAGED] = (status, "", {})
    runner = unregistered.app.test_cli_runner()
    assert says in runner.invoke(args=["unregister"]).output
    assert "not registered dynamically" in runner.invoke(args=["registration"]).output


def test_credentials_need_a_client_id(tally: Tally) -> None:
    own: Settings = tally.services.settings
    assert dataclasses.replace(own, client_id=None).faults() == ["CLIENT_SECRET is set, but CLIENT_ID is not"]
    assert dataclasses.replace(own, client_secret=None).faults() == ["CLIENT_SECRET is not set"]
    assert dataclasses.replace(own, client_auth_method="private_key_jwt").faults() == ["CLIENT_PRIVATE_KEY is not set"]
