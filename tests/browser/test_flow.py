"""A person clicks the whole flow, on `localhost` and on three separate sites."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from rolecall_lab.walker import Walker
from support.stack import Stack

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _nobody_is_connected(site: Stack) -> None:
    """Remove the consents that other tests may have left behind."""
    for who, password in (("alice", "wonderland-lab"), ("bob", "builder-lab")):
        walker = Walker()
        page = walker.follow(walker.submit(walker.open(f"{site.auth}/sign-in"), username=who, password=password))
        for client_id in re.findall(r'name="client_id" value="([^"]+)"', page.text):
            walker.submit(page, f"{site.auth}/apps/disconnect", client_id=client_id)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, site: Stack) -> Page:
    """A tab that fails the test on any JavaScript error, and on any request to another host."""
    page = context.new_page()
    hosts = {url.split("//")[1] for url in (site.client, site.auth, site.api)}

    def watch(url: str) -> None:
        assert url.split("//")[1].split("/", maxsplit=1)[0] in hosts, url

    page.on("request", lambda request: watch(request.url))
    page.on("console", lambda message: None if message.type != "error" else strange.append(message.text))
    strange: list[str] = []
    page.on("pageerror", lambda error: strange.append(str(error)))
    page.strange = strange  # type: ignore[attr-defined]
    return page


def sign_in(page: Page, name: str = "alice", password: str = "wonderland-lab") -> None:
    page.fill("#username", name)
    page.fill("#password", password)
    page.click("#login-submit")


def allow(page: Page) -> None:
    page.wait_for_url(re.compile(r"/(consent|invoices)\b"))
    if page.locator("#consent-allow").count():
        page.click("#consent-allow")


def test_the_accounts_and_the_decision_are_on_a_projectors_first_screen(page: Page, site: Stack) -> None:
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(site.client)
    page.click("#connect")
    expect(page.get_by_text("builder-lab")).to_be_in_viewport(ratio=1)
    expect(page.locator("#login-submit")).to_be_in_viewport(ratio=1)
    sign_in(page)
    for choice in ("#consent-allow", "#consent-deny"):
        expect(page.locator(choice)).to_be_in_viewport(ratio=1)


@pytest.mark.smoke
def test_the_whole_flow(page: Page, site: Stack) -> None:
    page.goto(site.client)
    expect(page.locator("h2", has_text="The four roles")).to_be_visible()
    page.click("#connect")
    assert page.url.startswith(f"{site.auth}/sign-in")
    expect(page.locator("text=wonderland-lab")).to_be_visible()
    sign_in(page, password="wrong")
    expect(page.get_by_role("alert")).to_contain_text("is incorrect")
    sign_in(page)
    expect(page.locator("h1")).to_contain_text("Tally requests access")
    expect(page.locator(".may-not")).to_contain_text("see your password")
    page.click("#consent-deny")
    expect(page.locator("h1")).to_contain_text("You denied access")
    page.goto(site.client)
    page.click("#connect")
    page.click("#consent-allow")
    assert page.url == f"{site.client}/invoices", "the URL does not contain the code"
    expect(page.locator("h2", has_text="12 invoices")).to_be_visible()
    page.click("#ask-jwt")
    expect(page.locator("h2", has_text="Local validation")).to_contain_text("200")
    page.click("#refresh")
    expect(page.get_by_role("status")).to_contain_text("new access token")
    page.click("#revoke")
    expect(page.locator("h2", has_text="Introspection")).to_contain_text("401")
    expect(page.locator("h2", has_text="Local validation")).to_contain_text("200")
    page.click("#refresh")
    page.goto(f"{site.auth}/apps")
    expect(page.get_by_role("heading", name="Tally", exact=True)).to_be_visible()
    page.click("#disconnect-tally")
    expect(page.locator("h2", has_text="No app is connected")).to_be_visible()
    page.goto(f"{site.client}/invoices")
    expect(page.locator("h1")).to_contain_text("The API rejected the request")
    page.click("#refresh")
    expect(page.locator("h1")).to_contain_text("no longer valid")
    page.goto(f"{site.auth}/sign-out")
    page.click("#logout-confirm")
    page.goto(f"{site.auth}/apps")
    expect(page.locator("#login-submit")).to_be_visible()
    own_refusals = [text for text in page.strange if not re.search(r"status of (400|403|404|502)", text)]  # type: ignore[attr-defined]
    assert not own_refusals


def test_it_works_without_script(chromium: Browser, site: Stack) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.client)
    page.click("#connect")
    sign_in(page, "bob", "builder-lab")
    allow(page)
    expect(page.locator("h2", has_text="12 invoices")).to_be_visible()
    page.click("#disconnect")
    expect(page.get_by_role("status")).to_contain_text("disconnected")
    context.close()


def test_it_works_with_the_keyboard_alone(page: Page, site: Stack) -> None:
    page.goto(site.client)
    page.focus("#connect")
    page.keyboard.press("Enter")
    expect(page.locator("#username")).to_be_focused()
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type("wonderland-lab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/(consent|invoices)\b"))
    if page.locator("#consent-allow").count():
        page.focus("#consent-allow")
        page.keyboard.press("Space")
    expect(page.locator("h2", has_text="12 invoices")).to_be_visible()


def test_several_tabs(context: BrowserContext, site: Stack) -> None:
    first, second = context.new_page(), context.new_page()
    for tab in (first, second):
        tab.goto(site.client)
        tab.click("#connect")
        tab.wait_for_selector("#login-submit")
    sign_in(first)
    allow(first)
    expect(first.locator("h2", has_text="12 invoices")).to_be_visible()
    sign_in(second, password="not looked at any more")
    allow(second)
    expect(second.locator("h2", has_text="12 invoices")).to_be_visible()


def test_nothing_overflows_on_a_phone(chromium: Browser, site: Stack) -> None:
    context = chromium.new_context(viewport={"width": 320, "height": 640})
    page = context.new_page()
    page.goto(site.client)
    assert_fits(page)
    page.click("#connect")
    assert_fits(page)
    sign_in(page)
    assert_fits(page)
    allow(page)
    page.click("#ask-both")
    page.locator("main summary").first.click()
    assert_fits(page)
    page.goto(f"{site.auth}/apps")
    assert_fits(page)
    context.close()


def test_the_sign_in_page_cannot_be_framed(context: BrowserContext, site: Stack) -> None:
    """RFC 9700 section 4.16."""
    page = context.new_page()
    refused: dict[str, str | None] = {}
    page.on("requestfailed", lambda request: refused.update({request.url: request.failure}))
    with a_site_that_frames(f"{site.auth}/sign-in") as framing:
        page.goto(framing)
        page.wait_for_load_state("networkidle")
    assert refused == {f"{site.auth}/sign-in": "net::ERR_BLOCKED_BY_RESPONSE"}


@contextmanager
def a_site_that_frames(url: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"" if "favicon" in self.path else f'<iframe src="{url}"></iframe>'.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def assert_fits(page: Page) -> None:
    page.wait_for_load_state()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url
