"""Tally in several tabs of a browser, and at an address that is not its own."""

from __future__ import annotations

import pytest

from rolecall import clock
from rolecall.web.cookies import MAX_COOKIES
from support.auth_server import another_tab, copy_cookies, csrf_token, query
from support.tally import ISSUER, METADATA, Tally


def test_flows_that_a_new_browser_starts_at_once_all_finish(tally: Tally) -> None:
    """The first pages and the forms are requested without the cookies of the other tabs."""
    browser = tally.browser()
    tabs = [tally.app.test_client() for _ in range(3)]
    forms = [{"csrf_token": csrf_token(tab.get("/"))} for tab in tabs]
    for tab in tabs:
        copy_cookies(tab, browser.client)
    tabs = [another_tab(browser.client) for _ in tabs]
    started = [tab.post("/connect", data=form) for tab, form in zip(tabs, forms, strict=True)]
    for tab in tabs:
        copy_cookies(tab, browser.client)
    for each in started:
        state = query(each.location)["state"]
        assert browser.come_back(code="c0de", state=state, iss=ISSUER).location == "/invoices"
    assert not [cookie for cookie in (browser.client._cookies or {}).values() if "_flow_" in cookie.key]


def test_the_oldest_unfinished_flow_gives_way(tally: Tally) -> None:
    browser, states = tally.browser(), []
    for number in range(MAX_COOKIES + 1):
        clock.set_offset(number)
        states.append(browser.begin()["state"])
    statuses = [browser.come_back(code="c0de", state=state, iss=ISSUER).status_code for state in states]
    assert statuses == [400] + [303] * MAX_COOKIES


def test_a_reloaded_callback_keeps_the_connection_and_leads_to_it(tally: Tally) -> None:
    browser = tally.browser()
    answer = {"code": "c0de", "state": browser.begin()["state"], "iss": ISSUER}
    browser.come_back(**answer)
    page = browser.come_back(**answer)
    assert page.status_code == 400
    assert 'href="/invoices"' in page.text.partition("<main")[2]
    assert not tally.http.to(METADATA["revocation_endpoint"])
    assert browser.client.get("/invoices").status_code == 200
    stranger = tally.browser().come_back(**answer)
    assert 'href="/invoices"' not in stranger.text


@pytest.mark.parametrize(
    ("public_url", "host", "is_redirected"),
    [
        ("http://localhost:8000", "127.0.0.1:8000", True),
        ("http://localhost:8000", "[::1]:8000", True),
        ("http://127.0.0.1:8000", "LOCALHOST:8000", True),
        ("http://app.localhost:8000", "localhost:8000", True),
        ("http://localhost", "127.0.0.1", True),
        ("http://localhost:8000", "localhost:8000", False),
        # a proxy on this machine may forward requests under these names, and would get the redirect again
        ("http://localhost:8080", "127.0.0.1:8000", False),
        ("http://localhost:8000", "client-webapp:8000", False),
        ("https://app.example", "127.0.0.1", False),
    ],
)
def test_another_loopback_name_leads_to_the_public_url(
    tally: Tally, public_url: str, host: str, is_redirected: bool
) -> None:
    """Authorization responses go to PUBLIC_URL, where the cookies of another name are not sent."""
    browser = tally.again(public_url=public_url).app.test_client()
    for path in ("/", "/invoices?page=2", "/callback?state=a%26b&code=%2B"):
        response = browser.get(path, headers={"Host": host})
        assert response.headers.get("Location") == (public_url + path if is_redirected else None)
    for path in ("/healthz", "/openapi.json"):
        assert browser.get(path, headers={"Host": host}).status_code == 200, "programs can use every name"
    assert browser.post("/connect", headers={"Host": host}).status_code == 400, "only GET"
