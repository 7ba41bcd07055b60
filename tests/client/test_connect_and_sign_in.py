"""Connecting and signing in with one request, and the claims that a refreshed ID token must repeat."""

from __future__ import annotations

from typing import Any

import pytest

from rolecall import clock
from support.openid_provider import SUB, Issuer
from support.tally import API, ISSUER, METADATA, TOKENS, Browser, Tally

TOKEN = METADATA["token_endpoint"]


@pytest.fixture
def issuer(tally: Tally) -> Issuer:
    return Issuer(tally)


def begin(browser: Browser) -> dict[str, str]:
    return browser.begin("/connect-and-sign-in")


def connected(issuer: Issuer, browser: Browser) -> dict[str, Any]:
    """Return the claims of the first ID token."""
    asked = begin(browser)
    claims = issuer.claims(asked["nonce"])
    issuer.answer(issuer.sign(claims))
    assert browser.come_back(code="c0de", state=asked["state"], iss=ISSUER).location == "/invoices"
    return claims


def test_one_request_does_both(tally: Tally, issuer: Issuer) -> None:
    """OpenID Connect Core sections 3.1.2.1 and 11, RFC 8707 section 2."""
    browser = tally.browser()
    asked = begin(browser)
    assert asked["scope"] == "openid profile email offline_access invoices:read"
    assert asked["resource"] == API
    connected(issuer, browser)
    assert SUB in browser.client.get("/me").text
    assert browser.client.get("/invoices").status_code == 200
    [*_, (_, _, _, form)] = tally.http.to(TOKEN)
    assert form["resource"] == API
    assert 'id="connect-and-sign-in"' not in browser.client.get("/").text


def refreshed(issuer: Issuer, browser: Browser, claims: Any, **header: Any) -> Any:
    now = int(clock.now())
    new = {"nonce": None, **claims, "iat": now, "exp": now + 300}
    token = issuer.sign({name: value for name, value in new.items() if value is not None}, **header)
    tokens = {**TOKENS, "refresh_token": "another-refresh-token", "id_token": token}
    issuer.tally.http.answers[TOKEN] = (200, tokens, {})
    return browser.press("/refresh", "/invoices")


def test_a_refreshed_id_token_of_the_same_sign_in_is_accepted(tally: Tally, issuer: Issuer) -> None:
    """OpenID Connect Core section 12.2: the nonce may be missing, and the ID token itself too (section 12.2)."""
    browser = tally.browser()
    claims = connected(issuer, browser)
    clock.set_offset(120)
    assert refreshed(issuer, browser, claims).location == "/invoices"
    assert (
        refreshed(
            issuer, browser, {**claims, "nonce": None, "auth_time": None, "azp": None, "at_hash": None}
        ).status_code
        == 303
    )
    tally.http.answers[TOKEN] = (200, TOKENS, {})
    assert browser.press("/refresh", "/invoices").location == "/invoices"
    assert browser.client.get("/invoices").status_code == 200


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sub": "usr_bob"}, "It contradicts the first ID token in: sub."),
        ({"auth_time": 1}, "It contradicts the first ID token in: auth_time."),
        ({"nonce": "another"}, "It contradicts the first ID token in: nonce."),
        ({"aud": "other"}, "is not Tally alone"),
        ({"iss": "http://evil.test"}, "another issuer"),
        ({"azp": "other"}, "another client"),
        ({"at_hash": "x"}, "hash does not match"),
    ],
)
def test_another_sign_in_ends_the_connection(tally: Tally, issuer: Issuer, changes: dict[str, Any], says: str) -> None:
    """OpenID Connect Core section 12.2: the new access token may be another user's, so the response is not used."""
    browser = tally.browser()
    claims = connected(issuer, browser)
    page = refreshed(issuer, browser, {**claims, **changes})
    assert page.status_code == 502
    assert "Tally rejected the refreshed ID token" in page.text
    assert says in page.text
    assert browser.client.get("/invoices").status_code == 403
    assert SUB in browser.client.get("/me").text, "the sign-in itself has not changed"


def test_a_plain_connection_ignores_id_tokens(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    browser.connect()
    assert refreshed(issuer, browser, issuer.claims("n", sub="usr_bob")).location == "/invoices"


def test_another_user_replaces_sign_in_and_connection(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    asked = begin(browser)
    connected(issuer, browser)
    issuer.userinfo = {"sub": "usr_bob"}
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"], sub="usr_bob")))
    assert browser.come_back(code="c0de", state=asked["state"], iss=ISSUER).location == "/invoices"
    assert "usr_bob" in browser.client.get("/me").text
    [(_, _, _, form)] = tally.http.to(METADATA["revocation_endpoint"])
    assert form["token"] == TOKENS["refresh_token"]
    assert browser.client.get("/invoices").status_code == 200


def test_without_an_auth_time_a_refreshed_id_token_may_name_an_earlier_one(tally: Tally, issuer: Issuer) -> None:
    """OpenID Connect Core section 12.2: `auth_time` is the time of the original authentication."""
    browser = tally.browser()
    asked = begin(browser)
    claims = issuer.claims(asked["nonce"], auth_time=None)
    issuer.answer(issuer.sign(claims))
    browser.come_back(code="c0de", state=asked["state"], iss=ISSUER)
    clock.set_offset(120)
    assert refreshed(issuer, browser, {**claims, "auth_time": claims["iat"] - 60}).location == "/invoices"
    page = refreshed(issuer, browser, {**claims, "auth_time": claims["iat"] + 60})
    assert "It contradicts the first ID token in: auth_time." in page.text
