"""The pages: sign-in, sign-up, consent, connected apps, sign-out; sessions, CSRF, headers, several tabs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rolecall import clock
from rolecall.web.bodies import MAX_REQUEST_BODY
from rolecall_auth.models.authorization import Authorization
from support.auth_server import Server, another_tab, authorize_url, csrf_token, make_server, make_settings, query


def test_every_form_that_changes_something_needs_its_token(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    interaction = browser.request().location
    for path in ("/sign-in", "/sign-up", interaction, "/apps/disconnect", "/sign-out"):
        who = server.browser() if path == "/sign-in" else browser
        response = who.client.post(path, data={"decision": "allow", "username": "bob", "password": "builder-lab"})
        assert response.status_code == 400, path
        assert "This page has expired" in response.text
    assert "/consent" in browser.request().location, "nothing was allowed"


def test_the_session_is_renewed_at_sign_in(server: Server) -> None:
    browser = server.browser()
    page = browser.client.get("/sign-in")
    token = csrf_token(page)
    thief = another_tab(browser.client)
    browser.client.post("/sign-in", data={"csrf_token": token, "username": "alice", "password": "wonderland-lab"})
    assert browser.client.get("/apps").status_code == 200
    assert "/sign-in" in thief.get("/apps").location, "a cookie from before the sign-in is still accepted"
    again = browser.client.post("/apps/disconnect", data={"csrf_token": token, "client_id": "tally"})
    assert again.status_code == 400, "a form from before the sign-in is still accepted"


def test_wrong_password_and_unknown_name_look_the_same(server: Server) -> None:
    texts = set()
    for name, password in [
        ("alice", "wrong"),
        ("nobody", "wrong"),
        ("alice", ""),
        ("", ""),
        ("a\0b", "x"),
        ("é" * 300, "\ud83d"),
    ]:
        page = server.browser()
        response = page.submit("/sign-in", username=name, password=password.encode("utf-8", "replace").decode())
        assert response.status_code == 403
        assert "is incorrect" in response.text
        texts.add(re.sub(r'value="[^"]*"', "", response.text))
    assert len(texts) == 1


def test_cookies_and_headers_are_hardened(server: Server, tmp_path: Path) -> None:
    browser = server.browser()
    asked = browser.request()
    response = browser.client.get("/sign-in")
    signed_in = browser.sign_in()
    cookies = [cookie for each in (asked, response, signed_in) for cookie in each.headers.getlist("Set-Cookie")]
    prefix = server.app.config["COOKIE_PREFIX"]
    for name in (f"{server.cookie_name}=", f"{server.cookie_name}_known=", f"{prefix}_form_", f"{prefix}_request_"):
        assert [cookie for cookie in cookies if cookie.startswith(name)], name
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert len(cookie) < 4096
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/sign-in", "auth.test", 200),
        ("/jwks", "auth.test", 200),
        ("/nowhere", "auth.test", 404),
        ("//apps", "evil.test", 303),
        ("/sign-in", "evil@auth.test", 400),
    ],
)
def test_every_kind_of_answer_has_the_headers(server: Server, path: str, host: str, status: int) -> None:
    """Pages, JSON responses, errors, and requests that are rejected before the application sees them."""
    response = server.app.test_client().get(path, environ_overrides={"HTTP_HOST": host, "PATH_INFO": path})
    assert response.status_code == (404 if server.path and path == "//apps" else status)
    assert "evil" not in response.headers.get("Location", "")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers.get("Cross-Origin-Opener-Policy") == (
        None if path == "/sign-in" and host == "auth.test" else "same-origin"
    )
    policy = "cross-origin" if path == "/jwks" else "same-origin"
    assert response.headers["Cross-Origin-Resource-Policy"] == policy
    assert response.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/jwks", "/.well-known/openid-configuration", "/", "/apps"])
def test_head_has_the_headers_of_get(server: Server, path: str) -> None:
    """RFC 9110 section 9.3.2; in particular `Vary`, with which a cache updates its stored response."""
    get, head = (server.app.test_client().open(path, method=method).headers for method in ("GET", "HEAD"))
    assert {**get, "X-Request-Id": ""} == {**head, "X-Request-Id": ""}


def test_with_tls_the_cookie_has_the_host_prefix(tmp_path: Path, redis_url: str) -> None:
    """RFC 6265bis section 4.1.3.2."""
    server = make_server(make_settings(tmp_path, redis_url, issuer="https://auth.test"))
    browser = server.app.test_client()
    browser.get(authorize_url(), base_url="https://auth.test")
    page = browser.get("/sign-in", base_url="https://auth.test")
    form = {"csrf_token": csrf_token(page), "username": "alice", "password": "wonderland-lab"}
    browser.post("/sign-in", data=form, base_url="https://auth.test")
    assert browser.get_cookie("__Host-rolecall_auth", "auth.test")
    assert len(browser._cookies or {}) == 4, "of the session, the known browser, the form, and the request"
    for cookie in (browser._cookies or {}).values():
        assert cookie.key.startswith("__Host-rolecall_auth")
        assert cookie.secure
        assert cookie.path == "/"
        assert cookie.origin_only, "without the attribute Domain"


def test_pages_that_may_end_at_the_client_have_no_form_action(server: Server) -> None:
    """CSP Level 3 section 6.4.1: browsers apply it to all redirects, and a callback may redirect anywhere."""
    browser = server.browser()
    sign_in = browser.request().location
    pages = [browser.client.get(sign_in), browser.client.get(sign_in.replace("/sign-in", "/sign-up"))]
    pages.append(browser.client.get(browser.client.get(browser.sign_in(path=sign_in).location).location))
    assert "consent-allow" in pages[-1].text
    for page in pages:
        assert "form-action" not in page.headers["Content-Security-Policy"]
    for path in ("/", "/apps", "/sign-out", "/consent", "/nowhere"):
        assert "form-action 'self'" in browser.client.get(path).headers["Content-Security-Policy"]


def test_pages_for_popups_have_no_opener_policy(server: Server) -> None:
    """The client's page watches its popup window until the window comes back to the client."""
    browser = server.browser()
    started = browser.request()
    signed_in = browser.sign_in(path=started.location)
    consent = browser.client.get(signed_in.location)
    decided = browser.submit(consent.location, decision="allow")
    ended = browser.client.get(decided.location)
    assert "code=" in ended.location
    steps = [
        started,
        signed_in,
        consent,
        browser.client.get(browser.request(prompt="consent").location),
        decided,
        ended,
    ]
    steps += [browser.client.get("/authorize"), browser.client.get("/sign-up")]
    steps.append(browser.client.post("/sign-in", headers={"Sec-Fetch-Site": "cross-site"}))
    steps.append(browser.client.post("/sign-in", data={"username": "x" * 2 * MAX_REQUEST_BODY}))
    assert [step.status_code for step in steps[-2:]] == [403, 413]
    for step in steps:
        assert "Cross-Origin-Opener-Policy" not in step.headers
    for path in ("/", "/apps", "/sign-out", "/jwks", "/nowhere"):
        assert browser.client.get(path).headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_several_tabs_are_answered_each(server: Server) -> None:
    browser = server.browser()
    first, second = browser.request(state="one"), browser.request(state="two")
    page_of_second = browser.client.get(second.location)
    answer = browser.sign_in(path=first.location)
    # the other tab loaded its form before the sign-in, so it only continues, and its password is not checked
    stale = browser.client.post(
        second.location, data={"csrf_token": csrf_token(page_of_second), "username": "x", "password": "y"}
    )
    assert stale.status_code == 303
    assert "/authorize?interaction=" in stale.location
    consent_of_first = browser.client.get(answer.location).location
    consent_of_second = browser.client.get(browser.client.get(second.location).location).location
    for location, state in ((consent_of_second, "two"), (consent_of_first, "one")):
        done = browser.submit(location, decision="allow")
        assert query(browser.client.get(done.location).location)["state"] == state


def test_a_request_is_answered_once_and_only_in_its_browser(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    consent = browser.request().location
    name = query(consent)["interaction"]
    stranger = server.browser()
    stranger.sign_in("bob")
    for path in ("/consent", "/authorize", "/sign-up"):
        response = stranger.client.get(f"{path}?interaction={name}")
        assert response.status_code == 400
        assert "no longer valid" in response.text
    done = browser.submit(consent, decision="allow")
    assert "code=" in browser.client.get(done.location).location
    assert "no longer valid" in browser.client.get(done.location).text


def test_a_request_that_waited_too_long_says_so(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    consent = browser.request().location
    clock.set_offset(901)
    assert "it has expired" in browser.client.get(consent).text


def test_another_person_at_the_same_browser_decides_anew(server: Server) -> None:
    """A decision counts for the person who made it."""
    browser = server.browser()
    browser.sign_in("alice")
    done = browser.submit(browser.request().location, decision="allow")
    browser.submit("/sign-out")
    browser.sign_in("bob")
    assert "/consent" in browser.client.get(done.location).location


def test_a_session_ends_on_the_clock(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    assert browser.client.get("/apps").status_code == 200
    clock.set_offset(12 * 3600 + 1)
    assert "/sign-in" in browser.client.get("/apps").location


def test_sign_out_ends_the_session_and_keeps_the_apps(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    tokens = server.redeem(browser.authorize()["code"]).json
    cookie = browser.client.get_cookie(server.cookie_name)
    assert 'id="logout-confirm"' in browser.client.get("/sign-out").text
    browser.submit("/sign-out")
    assert "/sign-in" in browser.client.get("/apps").location
    assert cookie is not None
    browser.client.set_cookie(server.cookie_name, cookie.value)
    assert "/sign-in" in browser.client.get("/apps").location, "the session lives on under its old cookie"
    assert server.is_active(tokens["access_token"])


def test_taking_it_back_ends_everything_the_app_was_given(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    tokens = server.redeem(browser.authorize()["code"]).json
    pending = browser.authorize()["code"]
    page = browser.client.get("/apps")
    assert "Tally" in page.text
    assert "read your invoices" in page.text
    done = browser.submit("/apps", client_id="tally")
    assert done.status_code == 405, "the page itself takes no POST"
    done = browser.client.post("/apps/disconnect", data={"csrf_token": csrf_token(page), "client_id": "tally"})
    assert done.status_code == 303
    assert not server.is_active(tokens["access_token"])
    assert server.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"
    assert "No app is connected" in browser.client.get("/apps").text
    assert "/consent" in browser.request().location
    assert server.redeem(pending).json["error"] == "invalid_grant", "a code that was not yet redeemed"


def test_one_person_cannot_take_back_from_another(server: Server) -> None:
    tokens = server.tokens(who="alice")
    bob = server.browser()
    bob.sign_in("bob")
    page = bob.client.get("/sign-out")
    nul = bob.client.post("/apps/disconnect", data={"csrf_token": csrf_token(page), "client_id": "tally\0"})
    assert nul.status_code == 303
    bob.client.post("/apps/disconnect", data={"csrf_token": csrf_token(page), "client_id": "tally"})
    assert server.is_active(tokens["access_token"])


def test_sign_up_makes_an_account_and_goes_on(server: Server) -> None:
    browser = server.browser()
    sign_up = browser.request().location.replace("/sign-in", "/sign-up")
    done = browser.submit(sign_up, username="Carol", password="a sentence is good")
    assert done.status_code == 303
    assert "/consent" in browser.client.get(done.location).location
    other = server.browser()
    assert other.submit("/sign-in", username="carol", password="a sentence is good").status_code == 303


BAD_SIGN_UPS = {
    "taken": ("ALICE", "long enough"),
    "taken, in another form": ("ａｌｉｃｅ", "long enough"),
    "short password": ("carol", "short"),
    "long password": ("carol", "x" * 201),
    "no name": ("", "long enough"),
    "name with markup": ("<b>x</b>", "long enough"),
    "name with NUL": ("a\0b", "long enough"),
    "name too long": ("x" * 41, "long enough"),
}


@pytest.mark.parametrize(("username", "password"), BAD_SIGN_UPS.values(), ids=BAD_SIGN_UPS.keys())
def test_a_bad_sign_up_makes_nothing(server: Server, username: str, password: str) -> None:
    browser = server.browser()
    response = browser.submit("/sign-up", username=username, password=password)
    assert response.status_code == 400
    assert 'class="wrong"' in response.text
    assert "<b>x" not in response.text
    assert "/sign-in" in browser.client.get("/apps").location


def test_sign_up_can_be_closed(tmp_path: Path, redis_url: str) -> None:
    server = make_server(make_settings(tmp_path, redis_url, sign_up="closed"))
    for response in (
        server.browser().client.get("/sign-up"),
        server.browser().submit("/sign-in", username="a", password="b"),
    ):
        assert "Sign up</a>" not in response.text
    assert server.browser().client.get("/sign-up").status_code == 403


def test_unknown_pages_and_methods_are_explained(server: Server) -> None:
    browser = server.browser().client
    page = browser.get("/nowhere", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "Page not found" in page.text
    chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
    assert "Page not found" in browser.get("/nowhere", headers={"Accept": chrome}).text
    assert browser.get("/nowhere", headers={"Accept": "*/*"}).json["error"] == "invalid_request"
    assert browser.get("/nowhere").json["error"] == "invalid_request"
    response = browser.get("/token")
    assert response.status_code == 405
    assert response.headers["Allow"] == "OPTIONS, POST"
    assert browser.post("/token", data={"code": "x" * 70_000}).status_code == 413


def test_forged_forwarding_headers_change_nothing(server: Server) -> None:
    """RFC 9700 section 4.13: without a proxy, forwarding headers are ignored."""
    headers = {"X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https", "Host": "evil.test"}
    document = server.app.test_client().get("/.well-known/oauth-authorization-server", headers=headers).json
    assert "evil" not in str(document)
    response = server.app.test_client().get(authorize_url(), headers=headers)
    assert response.location.startswith(f"{server.path}/sign-in")


def test_disabling_a_client_stops_it(server: Server) -> None:
    tokens = server.tokens()
    from rolecall_auth.models.client import Client

    with server.services.database.transaction() as session:
        client = session.get(Client, "tally")
        assert client is not None
        client.disabled_at = clock.now()
    server.services.revocations.end("client disabled", Authorization.client_id == "tally")
    server.services.registry._clients.clear()
    assert not server.is_active(tokens["access_token"])
    assert server.refresh(tokens["refresh_token"]).json["error"] == "invalid_client"
    assert server.browser().request().status_code == 400
