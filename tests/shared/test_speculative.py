"""Speculative requests, which a browser or a program sends before the user opens the page, consume nothing."""

from __future__ import annotations

from typing import Any, Final

import pytest
from flask import Flask

from support.auth_server import Server, authorize_url, query
from support.tally import ISSUER, METADATA, Tally

SPECULATIVE: Final = (
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Sec-Purpose": "prefetch;anonymous-client-ip"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
)


@pytest.fixture(params=[("HEAD", {}), *(("GET", headers) for headers in SPECULATIVE)], ids=str)
def speculative(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The method and the headers of such a request (RFC 9110 section 9.2.1 for HEAD)."""
    method, headers = request.param
    return {"method": method, "headers": headers}


def test_an_authorization_request_stores_nothing(server: Server, speculative: dict[str, Any]) -> None:
    response = server.app.test_client().open(authorize_url(), **speculative)
    assert (response.status_code, response.data) == (204, b"")
    assert "Set-Cookie" not in response.headers
    assert server.redis_keys("interaction:*") == []


def test_a_remembered_consent_issues_no_code(server: Server, speculative: dict[str, Any]) -> None:
    browser = server.browser()
    browser.sign_in()
    browser.authorize()
    codes = server.redis_keys("code:*")
    assert browser.client.open(authorize_url(), **speculative).status_code == 204
    assert server.redis_keys("code:*") == codes
    assert "code" in query(browser.request().location)


def test_a_decision_is_not_consumed(server: Server, speculative: dict[str, Any]) -> None:
    browser = server.browser()
    browser.sign_in()
    decided = browser.submit(browser.request().location, decision="allow").location
    assert browser.client.open(decided, **speculative).status_code == 204
    assert "code" in query(browser.client.get(decided).location)


def test_a_consent_page_that_nobody_sees_is_not_recorded(server: Server, speculative: dict[str, Any]) -> None:
    browser = server.browser()
    browser.sign_in()
    location = browser.request().location
    [before] = [server.services.store.client.get(key) for key in server.redis_keys("interaction:*")]
    assert browser.client.open(location, **speculative).status_code == 204
    assert [server.services.store.client.get(key) for key in server.redis_keys("interaction:*")] == [before]


def test_an_authorization_response_is_not_redeemed(tally: Tally, speculative: dict[str, Any]) -> None:
    browser = tally.browser()
    callback = f"/callback?code=c0de&iss={ISSUER}&state={browser.begin()['state']}"
    response = browser.client.open(callback, **speculative)
    assert (response.status_code, response.data) == (204, b"")
    assert not tally.http.to(METADATA["token_endpoint"])
    assert browser.client.get(callback).location == "/invoices"


@pytest.mark.parametrize("service", ["server", "tally"])
def test_a_message_for_the_next_page_is_not_consumed(
    service: str, speculative: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    app: Flask = request.getfixturevalue(service).app
    browser = app.test_client()
    with browser.session_transaction() as session:
        session["_flashes"] = [("message", "the message")]
    path = "/me" if service == "tally" else "/apps"
    browser.open(path, **speculative)
    browser.open("/", **speculative)
    with browser.session_transaction() as session:
        assert session["_flashes"] == [("message", "the message")]


@pytest.mark.parametrize("service", ["server", "tally"])
def test_routes_whose_get_changes_something_are_marked(service: str, request: pytest.FixtureRequest) -> None:
    routes = request.getfixturevalue(service).app.extensions["rolecall_routes"]
    unsafe = {route.name for route in routes if not route.safe}
    assert unsafe == ({"callback"} if service == "tally" else {"authorize", "consent"})


def test_other_pages_and_programs_endpoints_answer_head(server: Server) -> None:
    """RFC 9110 section 9.3.2."""
    browser = server.app.test_client()
    for path in ("/", "/sign-in", "/jwks", "/healthz"):
        assert browser.head(path).status_code == browser.get(path).status_code == 200
    assert browser.get("/jwks", headers={"Sec-Purpose": "prefetch"}).status_code == 200
