"""The lab's navigation bar, the catalog, and an embedded diagram in Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from support.browser.axe import serious
from support.stack import Stack

pytestmark = pytest.mark.browser

FITS = "document.documentElement.scrollWidth <= innerWidth"
PATHS = {
    "client": ("/", "/flows", "/flows/replayed_code", "/compare", "/nothing"),
    "auth": ("/", "/sign-in", "/authorize"),
    "api": ("/", "/invoices"),
    "observer": ("/", "/flows/nothing"),
}


def sized(chromium: Browser, width: int, height: int, scheme: str = "light") -> BrowserContext:
    context = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    context.set_default_timeout(60_000)
    return context


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = sized(chromium, 1440, 900)
    yield context.new_page()
    context.close()


def addresses(stack: Stack) -> list[str]:
    return [f"{getattr(stack, service)}{path}" for service, paths in PATHS.items() for path in paths]


def sign_in(page: Page) -> None:
    if page.locator("#login-submit").count():
        page.fill("#username", "alice")
        page.fill("#password", "wonderland-lab")
        page.click("#login-submit")
    if page.locator("#consent-allow").count():
        page.click("#consent-allow")


def connect(page: Page, stack: Stack) -> None:
    page.goto(stack.client)
    page.locator("form[action='/connect'] button").first.click()
    sign_in(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 720), (1440, 900)])
def test_every_page_has_the_bar(chromium: Browser, stack: Stack, width: int, height: int, scheme: str) -> None:
    context = sized(chromium, width, height, scheme)
    page = context.new_page()
    for address in addresses(stack):
        page.goto(address)
        assert page.evaluate(FITS), address
        assert not serious(page), address
        current = page.get_by_role("navigation", name="Lab").locator("a[aria-current]")
        if width == 390:
            assert page.locator(".top").evaluate("bar => bar.offsetHeight") < 60, f"{address}: more than one row"
            page.locator(".top-menu summary").click()
            assert not serious(page), address
            assert page.evaluate(FITS), address
        expect(current).to_be_visible()
        rows = (
            page.get_by_role("navigation", name="Lab")
            .locator("a")
            .evaluate_all("links => new Set(links.map(link => link.getBoundingClientRect().top)).size")
        )
        assert rows == (7 if width == 390 else 1), address
    context.close()


def test_the_menu_of_a_phone_opens_by_keyboard(chromium: Browser, stack: Stack) -> None:
    context = sized(chromium, 390, 844)
    page = context.new_page()
    page.goto(stack.client)
    catalog = page.get_by_role("navigation", name="Lab").get_by_role("link", name="Catalog")
    expect(catalog).not_to_be_visible()
    page.locator(".top-menu summary").focus()
    page.keyboard.press("Enter")
    expect(catalog).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if catalog.evaluate("link => link === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"{stack.client}/flows")
    context.close()


def test_the_catalog_is_short_and_has_a_filter(page: Page, stack: Stack) -> None:
    connect(page, stack)
    page.goto(f"{stack.client}/flows")
    assert page.evaluate("document.documentElement.scrollHeight") <= 2000
    entries = page.locator(".entry")
    count = entries.count()
    page.fill("#filter", "nonce ID token")
    expect(page.locator(".filter output")).to_have_text(f"3 of {count} flows")
    expect(entries.locator("visible=true")).to_have_count(3)
    expect(page.locator(".group").locator("visible=true")).to_have_count(2)
    page.fill("#filter", "RFC 7636 plain")  # the specification is not part of the entry's text
    expect(entries.locator("visible=true")).to_contain_text("code_challenge_method=plain")
    page.fill("#filter", "no such flow")
    expect(entries.locator("visible=true")).to_have_count(0)
    assert not serious(page)
    page.fill("#filter", "")
    expect(entries.locator("visible=true")).to_have_count(count)


def test_an_entry_leads_to_its_last_diagram_and_its_code(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.client}/flows")
    page.click("#start-unregistered_scope")
    sign_in(page)
    expect(page.locator("#came")).to_contain_text("invalid_scope")
    page.goto(f"{stack.client}/flows")
    entry = page.locator(".entry", has_text="Unregistered scope")
    expect(entry.locator(".result")).to_contain_text("as expected")
    entry.get_by_role("link", name="Diagram").click()
    expect(page.locator("#part-diagram")).to_contain_text("invalid_scope")
    page.go_back()
    page.locator(".entry", has_text="Unregistered scope").get_by_role("link", name="Code").click()
    expect(page.locator("#source")).to_be_in_viewport()


def test_an_embedded_diagram_does_not_scroll(page: Page, stack: Stack) -> None:
    """Only the page around the frame scrolls, the frame has no header, and its links open the observer itself."""
    connect(page, stack)
    page.locator("details.beside summary").click()
    frame = page.frame_locator("details.beside iframe")
    expect(frame.locator("#live")).to_have_text("Live")
    expect(frame.locator("header, nav, .foot").locator("visible=true")).to_have_count(0)
    inside = page.frames[1]
    inside.wait_for_function("document.documentElement.scrollHeight <= innerHeight")
    assert inside.evaluate("innerHeight") > 900
    assert inside.evaluate(FITS)
    with page.context.expect_page() as opened:
        frame.locator("a.message").first.click()
    expect(opened.value.locator("#inspector")).to_be_visible()
    expect(opened.value.locator(".top")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
def test_a_message_has_a_page_of_its_own(chromium: Browser, stack: Stack, width: int) -> None:
    context = sized(chromium, width, 900)
    page = context.new_page()
    connect(page, stack)
    page.goto(page.locator("p.beside a").get_attribute("href") or "")
    page.goto(f"{page.url}/messages/1")
    expect(page.locator("#inspector h2")).to_be_in_viewport()
    expect(page.locator(".top")).to_be_in_viewport()
    assert page.evaluate(FITS)
    context.close()


def test_present_mode_hides_the_bar(page: Page, stack: Stack) -> None:
    connect(page, stack)
    address = page.locator("p.beside a").get_attribute("href")
    assert address is not None
    page.goto(address)
    expect(page.locator(".top")).to_be_visible()
    page.keyboard.press("p")
    expect(page.locator(".top")).not_to_be_visible()


def test_without_script(chromium: Browser, stack: Stack) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{stack.client}/flows")
    expect(page.locator("#filter")).not_to_be_visible()
    expect(page.locator(".entry").first).to_be_visible()
    page.locator(".top-menu summary").click()
    page.get_by_role("navigation", name="Lab").get_by_role("link", name="Compare").click()
    page.wait_for_url(f"{stack.client}/compare")
    context.close()
