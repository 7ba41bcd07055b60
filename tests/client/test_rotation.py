"""Key rotation and `form_post`, which a correct provider may use at any time, at a provider in this process."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from client.test_mistakes import ISSUER, sign_in, tally_with
from rolecall import clock
from rolecall_lab.mistakes.alterations import Alteration
from rolecall_lab.mistakes.drafts import AuthorizationResponse, Draft, IdToken
from rolecall_lab.mistakes.keys import ELLIPTIC, MAIN, SECOND, UNPUBLISHED, ProviderKey
from rolecall_lab.mistakes.provider import Provider
from support.tally import Browser, Tally

THIRD = ProviderKey("third")


def rotate(tally: Tally, signing: ProviderKey, *published: ProviderKey) -> Provider:
    """Let the provider sign with this key from now on, and publish these keys."""

    def publish(draft: Draft) -> None:
        draft.body["keys"] = [key.jwk() for key in published]

    def sign(token: IdToken) -> None:
        token.key, token.header["kid"] = signing, signing.kid

    changes = {"keys": publish, "id_token": sign, "refreshed_id_token": sign}
    provider = Provider(ISSUER, Alteration("rotated", "Another key", "OpenID Connect Core section 10.1.1", changes))
    tally.http.provider = provider  # type: ignore[attr-defined]
    return provider


def key_sets(tally: Tally) -> int:
    urls: list[str] = tally.http.urls  # type: ignore[attr-defined]
    return urls.count(f"{ISSUER}/jwks")


@pytest.mark.parametrize("published", [(SECOND,), (MAIN, SECOND), (SECOND, ELLIPTIC, MAIN)])
def test_rotation_between_two_sign_ins(redis_url: str, published: tuple[ProviderKey, ...]) -> None:
    """OpenID Connect Core section 10.1.1: an unknown `kid` makes the client fetch the key set, without a pause."""
    tally, provider = tally_with(redis_url, None)
    assert sign_in(tally.browser(), provider).location == "/me"
    assert sign_in(tally.browser(), rotate(tally, SECOND, *published)).location == "/me"
    assert key_sets(tally) == 2
    assert sign_in(tally.browser(), rotate(tally, SECOND, *published)).location == "/me"
    assert key_sets(tally) == 2, "the new key is cached"


def test_rotation_just_before_signing(redis_url: str) -> None:
    """The key changes while the browser is at the provider."""
    tally, provider = tally_with(redis_url, None)
    browser = tally.browser()
    assert sign_in(browser, provider).location == "/me"
    another = tally.browser()
    _, response = authorize(another, provider)
    rotate(tally, SECOND, MAIN, SECOND)
    assert another.client.get("/callback", query_string=response.pairs()).location == "/me"


def test_rotation_between_sign_in_and_refresh(redis_url: str) -> None:
    """OpenID Connect Core section 12.2: the refreshed ID token is signed with the provider's current key."""
    tally, provider = tally_with(redis_url, None)
    browser = tally.browser()
    assert sign_in(browser, provider, button="/connect-and-sign-in").location == "/invoices"
    rotate(tally, SECOND, SECOND)
    assert browser.press("/refresh", "/me").location == "/invoices"


def test_a_second_rotation_within_ten_seconds_waits(redis_url: str) -> None:
    """After the first unknown `kid`, the key set is fetched at most once in ten seconds."""
    tally, provider = tally_with(redis_url, None)
    assert sign_in(tally.browser(), provider).location == "/me"
    assert sign_in(tally.browser(), rotate(tally, SECOND, SECOND)).location == "/me"
    assert "Tally rejected the ID token" in sign_in(tally.browser(), rotate(tally, THIRD, THIRD)).text
    assert key_sets(tally) == 2
    clock.set_offset(11)
    assert sign_in(tally.browser(), rotate(tally, THIRD, THIRD)).location == "/me"
    assert key_sets(tally) == 3


def test_a_retired_key_signs_nobody_in(redis_url: str) -> None:
    """The key set was fetched again, and no longer has the key."""
    tally, provider = tally_with(redis_url, None)
    assert sign_in(tally.browser(), provider).location == "/me"
    assert sign_in(tally.browser(), rotate(tally, SECOND, SECOND)).location == "/me"
    assert "Tally rejected the ID token" in sign_in(tally.browser(), rotate(tally, MAIN, SECOND)).text
    assert "Tally rejected the ID token" in sign_in(tally.browser(), rotate(tally, UNPUBLISHED, SECOND)).text


def authorize(browser: Browser, provider: Provider, button: str = "/sign-in") -> tuple[Any, AuthorizationResponse]:
    """Press a button; return the parameters of the request, and the provider's response."""
    started = browser.press(button)
    parameters = dict(parse_qsl(urlsplit(started.location).query))
    response = provider.respond("GET", urlsplit(started.location).path, parameters)
    assert isinstance(response, AuthorizationResponse)
    return parameters, response


@pytest.mark.parametrize(
    ("button", "location"), [("/connect", "/invoices"), ("/sign-in", "/me"), ("/connect-and-sign-in", "/invoices")]
)
@pytest.mark.parametrize("mode", [None, "query", "form_post"])
def test_each_flow_requests_the_response_mode_of_the_settings(
    redis_url: str, mode: str | None, button: str, location: str
) -> None:
    """Multiple Response Types section 2.1, Form Post Response Mode section 2: the form brings no Lax cookie."""
    tally, provider = tally_with(redis_url, None, response_mode=mode)
    browser = tally.browser()
    asked, response = authorize(browser, provider, button)
    assert asked.get("response_mode") == mode
    if mode != "form_post":
        assert browser.client.get("/callback", query_string=response.pairs()).location == location
        return
    posted = tally.app.test_client().post("/callback", data=dict(response.pairs()))
    assert posted.status_code == 303
    assert response.parameters["code"] not in posted.location
    assert browser.client.get(posted.location).location == location


def test_an_error_as_a_form_is_explained(redis_url: str) -> None:
    """OpenID Connect Core section 3.1.2.6."""
    tally, provider = tally_with(redis_url, None, response_mode="form_post")
    browser = tally.browser()
    _, response = authorize(browser, provider)
    error = {"error": "access_denied", "state": response.parameters["state"], "iss": ISSUER}
    posted = tally.app.test_client().post("/callback", data=error)
    assert "You denied access" in browser.client.get(posted.location).text
