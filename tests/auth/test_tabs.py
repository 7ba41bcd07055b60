"""Several tabs of one browser: simultaneous first requests without cookies, and the number of pending requests."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.web.cookies import MAX_COOKIES
from support.auth_server import (
    Browser,
    Server,
    another_tab,
    authorize_url,
    copy_cookies,
    csrf_token,
    hidden_fields,
    make_server,
    make_settings,
    query,
)

ALICE = {"username": "alice", "password": "wonderland-lab"}


def at_once(server: Server, *paths: str) -> tuple[Browser, list[TestResponse]]:
    """Send requests before any response has arrived; return the browser with the cookies of all responses."""
    browser, responses = server.browser(), []
    for path in paths:
        tab = server.app.test_client()
        responses.append(tab.get(path))
        copy_cookies(tab, browser.client)
    return browser, responses


def pending_cookies(client: FlaskClient) -> list[str]:
    return [cookie.key for cookie in (client._cookies or {}).values() if "_request_" in cookie.key]


def finish(browser: Browser, location: str) -> str:
    """Sign in if necessary, allow, and return the `state` of the authorization response."""
    signed_in = browser.sign_in(path=location).location if "/sign-in" in location else location
    consent = browser.client.get(signed_in).location
    if "/consent" in consent:
        consent = browser.client.get(browser.submit(consent, decision="allow").location).location
    return query(consent)["state"]


def test_requests_of_a_new_browser_at_once_are_all_answered(server: Server) -> None:
    browser, started = at_once(server, *(authorize_url(state=state) for state in "abc"))
    first = browser.sign_in(path=started[0].location)
    assert query(browser.client.get(first.location).location).keys() == {"interaction"}
    locations = [first.location, *(browser.client.get(each.location).location for each in started[1:])]
    assert [finish(browser, location) for location in locations] == ["a", "b", "c"]
    assert pending_cookies(browser.client) == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_forms_that_a_new_browser_opens_at_once_are_both_usable(server: Server, order: tuple[int, int]) -> None:
    browser, pages = at_once(server, "/sign-up", "/sign-up")
    for number in order:
        form = {"csrf_token": csrf_token(pages[number]), "username": "x", "password": "short"}
        answer = browser.client.post("/sign-up", data=form)
        assert 'class="wrong"' in answer.text, "the form is read"


@pytest.mark.parametrize("number", [0, 1])
def test_sign_in_pages_that_a_new_browser_opens_at_once_are_both_usable(server: Server, number: int) -> None:
    browser, started = at_once(server, authorize_url(state="a"), authorize_url(state="b"))
    tabs = [another_tab(browser.client) for _ in started]
    pages = [tab.get(each.location) for tab, each in zip(tabs, started, strict=True)]
    for tab in tabs:
        copy_cookies(tab, browser.client)
    answer = browser.client.post(started[number].location, data={**hidden_fields(pages[number]), **ALICE})
    assert answer.status_code == 303
    assert "/consent" in browser.client.get(answer.location).location


def test_a_token_of_another_browser_is_rejected(server: Server) -> None:
    browser, other = server.browser(), server.browser()
    form = {"csrf_token": csrf_token(other.client.get("/sign-in")), **ALICE}
    for _ in range(2):  # first without any cookie, then with its own
        answer = browser.client.post("/sign-in", data=form)
        assert answer.status_code == 400
        assert "This page has expired" in answer.text
        browser.client.get("/sign-in")


def test_another_browser_cannot_take_a_pending_request(server: Server) -> None:
    """Another browser has no cookie for the request, and the cookie of its own request is not accepted."""
    browser, thief = server.browser(), server.browser()
    location = browser.request().location
    thief.request()
    thief.sign_in()
    assert "no longer valid" in thief.client.get(location).text
    [own] = [cookie for cookie in (thief.client._cookies or {}).values() if "_request_" in cookie.key]
    [wanted] = pending_cookies(browser.client)
    thief.client.set_cookie(wanted, own.value)
    assert "no longer valid" in thief.client.get(location).text
    assert browser.client.get(location).status_code == 200


def test_the_oldest_pending_request_gives_way(server: Server) -> None:
    browser = server.browser()
    locations = []
    for number in range(MAX_COOKIES + 2):
        clock.set_offset(number)
        locations.append(browser.request(state=f"s{number}").location)
        assert len(pending_cookies(browser.client)) <= MAX_COOKIES
    assert [browser.client.get(location).status_code for location in locations] == [400, 400] + [200] * MAX_COOKIES


def test_cookies_that_the_server_has_not_set_give_way_first(server: Server) -> None:
    """Other servers on localhost can set cookies with any name and value (RFC 6265 section 8.5)."""
    browser = server.browser()
    location = browser.request().location
    for number in range(MAX_COOKIES):
        browser.client.set_cookie(
            f"{server.app.config['COOKIE_PREFIX']}_request_{number}", ("", "x.y", "٣.x", "9" * 500)[number % 4]
        )
    browser.request()
    assert len(pending_cookies(browser.client)) == MAX_COOKIES
    assert browser.client.get(location).status_code == 200


def test_a_posted_request_belongs_to_the_first_browser_that_opens_it(server: Server) -> None:
    """OpenID Connect Core section 3.1.2.1: a form of another site, with which the browser sends no cookies."""
    asked = query(authorize_url())
    posted = [server.app.test_client().post("/authorize", data=asked) for _ in range(2)]
    assert not any("Set-Cookie" in each.headers for each in posted)
    browser, thief = server.browser(), server.browser()
    pages = [browser.client.get(each.location).location for each in posted]
    assert [browser.client.get(page).status_code for page in pages] == [200, 200]
    assert "no longer valid" in thief.client.get(posted[0].location).text
    assert browser.client.get(pages[0]).status_code == 200, "the other browser has taken it"


def test_all_issuers_of_a_host_share_the_limit(tmp_path: Any, redis_url: str) -> None:
    """A browser sends all `__Host-` cookies to all issuers of the host, and the length of a header is limited."""
    servers = [make_server(make_settings(tmp_path, redis_url, issuer=f"https://id.test/{name}")) for name in "ab"]
    jar = servers[0].app.test_client()
    for number in range(MAX_COOKIES + 4):
        clock.set_offset(number)
        server = servers[number % 2]
        tab = server.app.test_client()
        copy_cookies(jar, tab)
        tab.get(f"{server.path}{authorize_url()}", base_url="https://id.test")
        jar = tab
    assert len(pending_cookies(jar)) == MAX_COOKIES
