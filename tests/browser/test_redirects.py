"""Redirects to a client and on from there, several tabs, and popup windows, as Chromium treats them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from support import containers
from support.auth_server import CHALLENGE, query
from support.browser.accounts import registered
from support.browser.another_client import AnotherClient, another_client
from support.browser.serving import serving
from support.browser.states import tally
from support.stack import Stack
from support.tally import METADATA

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(containers.asked_for(), reason="the containers cannot reach the client of these tests"),
]

PRIVATE_SCHEME = "org.example.app:/signed-in"


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def client() -> Iterator[AnotherClient]:
    with another_client() as running:
        yield running


def request_of(stack: Stack, client: AnotherClient, **changes: str) -> str:
    """Register the client, whose consents are remembered, and return its authorization request."""
    client_id = registered(
        stack,
        "Elsewhere",
        redirect_uris=[client.url("/callback")],
        scope="openid",
        token_endpoint_auth_method="client_secret_basic",
    )
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": client.url("/callback"),
        "scope": "openid",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"{stack.auth}/authorize?{urlencode(parameters | changes)}"


def sign_in(page: Page) -> None:
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")


@pytest.mark.parametrize("mode", ["query", "form_post"])
def test_the_callback_may_redirect_to_another_origin(
    mode: str, context: BrowserContext, stack: Stack, client: AnotherClient
) -> None:
    """RFC 6749 section 4.1.2: after the consent page, and after the sign-in page with a remembered consent."""
    client.next_url = client.url("/done", "127.0.0.1")
    url = request_of(stack, client, response_mode=mode)
    page = context.new_page()
    page.goto(url)
    sign_in(page)
    page.click("#consent-allow")
    page.wait_for_url(client.next_url)
    context.clear_cookies()
    page.goto(url)
    sign_in(page)
    page.wait_for_url(client.next_url)
    assert [method for method, *_ in client.callbacks] == ["POST" if mode == "form_post" else "GET"] * 2


@pytest.mark.parametrize("mode", ["query", "form_post"])
def test_the_callback_may_open_an_app(mode: str, context: BrowserContext, stack: Stack, client: AnotherClient) -> None:
    """RFC 8252 section 7.1: no policy of the authorization server blocks a private-use URI scheme."""
    client.next_url = PRIVATE_SCHEME
    page = context.new_page()
    page.goto(request_of(stack, client, response_mode=mode))
    sign_in(page)
    with page.expect_event("requestfailed") as failed:  # no application of this machine has the scheme
        page.click("#consent-allow", no_wait_after=True)
    assert failed.value.url == PRIVATE_SCHEME, "a policy would have blocked the previous request"


def test_tally_works_with_a_server_whose_endpoints_are_elsewhere(
    context: BrowserContext, stack: Stack, client: AnotherClient
) -> None:
    """RFC 8414 section 2: the authorization endpoint may be on any host, and may redirect to another host."""
    app, http = tally(stack.redis_url)
    client.next_url = client.url("/sign-in", "accounts.localhost")
    metadata = {**METADATA, "authorization_endpoint": client.url("/callback", "id.localhost")}
    http.answers["http://auth.test/.well-known/oauth-authorization-server"] = (200, metadata, {})
    page = context.new_page()
    with serving(app) as address:
        for button in ("#connect", "#sign-in"):
            page.goto(address)
            page.click(button)
            page.wait_for_url(client.next_url)
    assert len(client.callbacks) == 2


def test_tabs_that_a_new_browser_opens_at_once_all_finish(
    context: BrowserContext, stack: Stack, client: AnotherClient
) -> None:
    url = request_of(stack, client)
    pages = [context.new_page() for _ in range(4)]
    for number, page in enumerate(pages):
        page.evaluate("url => { location.href = url }", f"{url}&state=tab-{number}")
    for page in pages:
        page.wait_for_url("**/sign-in?**")
        expect(page.locator("#login-submit")).to_be_visible()
    for page in pages:
        sign_in(page)
        if "/consent" in page.url:
            page.click("#consent-allow")
        page.wait_for_url(client.url("/callback?**"))
    assert [query(page.url)["state"] for page in pages] == [f"tab-{number}" for number in range(4)]


def test_a_page_that_opens_a_popup_can_watch_it(context: BrowserContext, stack: Stack, client: AnotherClient) -> None:
    """No page on the way has an opener policy, which would disconnect the windows for good."""
    url = request_of(stack, client)
    opener = context.new_page()
    opener.goto(client.url("/", "127.0.0.1"))
    with context.expect_page() as opened:
        opener.evaluate("url => { window.popup = window.open(url) }", url)
    popup = opened.value

    def is_watched() -> Any:
        return popup.evaluate("window.opener !== null") and opener.evaluate("!window.popup.closed")

    popup.wait_for_url(re.compile("/sign-in"))
    assert is_watched()
    popup.fill("#username", "alice")
    popup.fill("#password", "wrong")
    popup.click("#login-submit")
    expect(popup.get_by_role("alert")).to_be_visible()
    assert is_watched()
    sign_in(popup)
    popup.wait_for_url(re.compile("/consent"))
    assert is_watched()
    popup.click("#consent-allow")
    popup.wait_for_url(client.url("/callback?**"))
    assert is_watched()
