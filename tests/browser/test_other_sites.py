"""Requests of another site's page to the lab in a real browser: the browser blocks some, and the lab refuses others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from support.browser.serving import another_site, statuses
from support.stack import Stack

pytestmark = pytest.mark.browser

LAB: Final = (
    ("GET", "/_lab/clock"), ("PUT", "/_lab/clock"), ("DELETE", "/_lab/clock"), ("GET", "/_lab/events"),
    ("DELETE", "/_lab/events"), ("GET", "/_lab/flows"), ("GET", "/_lab/view"),
)  # fmt: skip
AUTH: Final = (
    ("GET", "/_lab/acts"), ("POST", "/_lab/acts"), ("GET", "/"), ("GET", "/sign-in"), ("POST", "/sign-in"),
    ("POST", "/sign-up"), ("POST", "/consent"), ("POST", "/authorize"), ("POST", "/token"), ("POST", "/register"),
    ("GET", "/jwks"), ("GET", "/.well-known/oauth-authorization-server"), ("GET", "/healthz"),
)  # fmt: skip
CLIENT: Final = (
    ("GET", "/"), ("POST", "/connect"), ("POST", "/callback"), ("GET", "/flows"), ("POST", "/flows/more_scope/start"),
    ("GET", "/compare"), ("POST", "/compare/back"), ("POST", "/compare/event"), ("POST", "/compare/measure"),
    ("GET", "/static/rolecall/rolecall.css"),
)  # fmt: skip
API: Final = (("GET", "/"), ("GET", "/invoices"), ("POST", "/invoices/1/payment"), ("GET", "/readyz"))
OBSERVER: Final = (("GET", "/"), ("GET", "/flows/1"), ("GET", "/flows/1/live"), ("POST", "/load"), ("GET", "/readyz"))


def services(site: Stack) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    return [(site.client, CLIENT + LAB), (site.auth, AUTH + LAB), (site.api, API + LAB), (site.observer, OBSERVER)]


@pytest.fixture
def unharmed(site: Stack) -> Iterator[None]:
    """Advance the lab's clock by 50 s; fail if the test changes it or the state of the authorization server."""
    site.call("PUT", f"{site.auth}/_lab/clock", b'{"offset": 50}')
    _, before = site.get(f"{site.auth}/_lab/acts")
    yield
    _, clock = site.get(f"{site.auth}/_lab/clock")
    _, acts = site.get(f"{site.auth}/_lab/acts")
    site.call("DELETE", f"{site.auth}/_lab/clock", None)
    assert (clock["offset"], acts) == (50, before)


@pytest.fixture
def context(rebound: Browser) -> Iterator[BrowserContext]:
    context = rebound.new_context()
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.mark.usefixtures("unharmed")
def test_a_name_that_resolves_to_this_machine_gets_nothing(rebound: Browser, site: Stack) -> None:
    """DNS rebinding: for the browser, the page has the service's origin, so that the page can read every response."""
    context = rebound.new_context(bypass_csp=True)  # the page of the other site has its own policy
    page = context.new_page()
    for url, requests in services(site):
        parts = urlsplit(url)
        answer = page.goto(f"http://evil.example:{parts.port}{parts.path}/")
        assert answer is not None
        assert answer.status == 403
        expect(page.locator("body")).to_contain_text(f"Open it at {url}")
        for method, path in requests:
            status = page.evaluate(
                """([method, path]) => fetch(path, {method, body: method == "GET" ? null : "{}",
                   headers: {"Content-Type": "application/json"}, redirect: "manual"}).then(each => each.status)""",
                [method, parts.path + path],
            )
            assert status == 403, (method, url, path)
    context.close()


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", ["localhost", pytest.param("evil.example", marks=pytest.mark.long)])
def test_a_page_of_another_origin_can_neither_read_nor_change_the_lab(
    name: str, context: BrowserContext, site: Stack
) -> None:
    """The page is on another port, which is the same site with HOSTS=localhost, or on another host."""
    page = context.new_page()
    with another_site() as port:
        page.goto(f"http://{name}:{port}/")
        received = statuses(page)
        targets = [(method, f"{url}{path}") for url in (site.client, site.auth, site.api) for method, path in LAB]
        targets += [("GET", f"{site.auth}/_lab/acts"), ("POST", f"{site.auth}/_lab/acts")]
        targets += [("POST", f"{url}/_lab/clock") for url in (site.client, site.auth)]
        targets += [(method, f"{site.observer}{path}") for method, path in OBSERVER]
        for method, target in targets:
            for mode in ("no-cors", "cors") if method in {"GET", "POST"} else ("cors",):
                read = page.evaluate(
                    """([method, target, mode]) => fetch(target, {method, mode, credentials: "include",
                       body: method == "GET" ? null : "{}"}).then(each => each.type + each.status, () => "failed")""",
                    [method, target, mode],
                )
                assert read in {"failed", "opaque0"}, (method, target)
        page.wait_for_load_state("networkidle")
        simple = {(method, target) for method, target in targets if method in {"GET", "POST"}}
        assert simple <= {(method, target) for method, target, _ in received()}
        own = f"http://{name}:{port}/"  # the page's icon
        assert [each for each in received() if each[-1] != 403 and not each[1].startswith(own)] == []


@pytest.mark.usefixtures("unharmed")
@pytest.mark.long
@pytest.mark.parametrize("name", ["localhost", "evil.example"])
def test_a_page_of_another_origin_cannot_send_the_labs_forms(name: str, context: BrowserContext, site: Stack) -> None:
    forms = [
        *((site.auth, path) for path in ("/sign-in", "/sign-up", "/consent", "/sign-out", "/apps/disconnect")),
        *((site.client, path) for path in ("/connect", "/sign-in", "/refresh", "/revoke", "/disconnect", "/sign-out")),
        *((site.client, path) for path in ("/compare/back", "/compare/event", "/flows/more_scope/start")),
        (site.observer, "/load"),
        (site.auth, "/_lab/acts"),
    ]
    page = context.new_page()
    with another_site() as port:
        for url, path in forms:
            assert _submit(page, f"http://{name}:{port}/", f"{url}{path}", what="") == 403, path
        for url in (site.client, site.auth):
            assert _navigate(page, f"http://{name}:{port}/", f"{url}/_lab/events") == 403
        assert _navigate(page, f"http://{name}:{port}/", f"{site.auth}/sign-in") == 200, "a link to a page"
        assert _navigate(page, f"http://{name}:{port}/", site.observer) == 200, "a link to the observer"
        page.goto(f"http://{name}:{port}/")
        refused: list[str | None] = []
        page.on("requestfailed", lambda request: refused.append(request.failure))
        page.evaluate(
            "url => document.body.append(Object.assign(document.createElement('iframe'), {src: url}))", site.observer
        )
        page.wait_for_load_state("networkidle")
        assert refused == ["net::ERR_BLOCKED_BY_RESPONSE"], "frame-ancestors"


@pytest.mark.long
def test_a_client_of_another_site_can_post_an_authorization_request(context: BrowserContext, site: Stack) -> None:
    """OpenID Connect Core section 3.1.2.1."""
    page = context.new_page()
    asked = {
        "response_type": "code",
        "client_id": "tally",
        "redirect_uri": f"{site.client}/callback",
        "state": "x" * 20,
    }
    asked |= {"scope": "invoices:read", "code_challenge": "c" * 43, "code_challenge_method": "S256"}
    with another_site() as port:
        assert _submit(page, f"http://evil.example:{port}/", f"{site.auth}/authorize", **asked) == 200
        assert page.url.startswith(f"{site.auth}/sign-in")


@pytest.mark.long
@pytest.mark.parametrize("flow", ["form_post", "implicit", "more_scope"])
def test_the_labs_own_pages_still_work(flow: str, context: BrowserContext, site: Stack) -> None:
    """The form_post response is a form that the authorization server's page sends to Tally."""
    page = context.new_page()
    answer = page.goto(f"{site.client}/flows/{flow}")
    assert answer is not None
    received: list[int] = []
    page.on("response", lambda response: received.append(response.status))
    page.locator("main form button").first.click()
    if "/sign-in" in page.url:
        page.fill("#username", "alice")
        page.fill("#password", "wonderland-lab")
        page.click("#login-submit")
    if page.locator("#consent-allow").count():
        page.click("#consent-allow")
    page.wait_for_url(f"{site.client}/**")
    assert 403 not in received
    page.goto(f"{site.client}/compare")
    if page.locator("#send").count():
        page.click("#send")
        expect(page.locator("main")).to_contain_text("200")


def _submit(page: Page, start: str, target: str, **fields: str) -> int:
    """Send a form from a page of another site; return the status of the page that it leads to."""
    page.goto(start)
    with page.expect_navigation() as navigation:
        page.evaluate(
            """([target, fields]) => {
               const form = document.forms[0];
               for (const [name, value] of Object.entries(fields))
                 form.append(Object.assign(document.createElement("input"), {name, value}));
               Object.assign(form, {method: "post", action: target}).submit();
            }""",
            [target, fields],
        )
    return navigation.value.status if navigation.value else 0


def _navigate(page: Page, start: str, target: str) -> int:
    """Follow a link from a page of another site; return the status."""
    page.goto(start)
    with page.expect_navigation() as navigation:
        page.evaluate("target => { location.href = target }", target)
    return navigation.value.status if navigation.value else 0
