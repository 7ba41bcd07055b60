"""The list of flows in a browser: live rows, filters, following on a projector, and a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from rolecall_lab.walker import Walker, connect
from support.browser.axe import serious
from support.stack import Stack

pytestmark = pytest.mark.browser

WIDE, PHONE = (1280, 720), (390, 844)


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that opens pages; JavaScript errors in them fail the test."""
    contexts, errors = [], []

    def make(url: str, size: tuple[int, int] = WIDE, scheme: str = "light", *, script: bool = True) -> Page:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,  # type: ignore[arg-type]
            reduced_motion="reduce",
            java_script_enabled=script,
        )
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        if script and page.locator("#live").count():
            expect(page.locator("#live")).to_have_text("Live")
        return page

    yield make
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def walker(stack: Stack) -> Walker:
    """Connect Tally as bob, so that the list has a flow."""
    made = Walker()
    connect(made, stack.client, "bob", "builder-lab")
    return made


def run(walker: Walker, stack: Stack, name: str) -> None:
    page = walker.open(f"{stack.client}/flows/{name}")
    walker.follow(walker.submit(page, f"{stack.client}/flows/{name}/start"))


def test_a_row_appears_and_changes_while_the_page_is_open(
    opened: Callable[..., Page], walker: Walker, stack: Stack
) -> None:
    page = opened(f"{stack.observer}/")
    first = page.locator("#rows tr").first
    before = first.get_attribute("id")
    run(walker, stack, "replayed_code")
    expect(first).not_to_have_id(before or "")
    expect(first.locator(".name")).to_contain_text("Replayed code")
    expect(first.locator(".person")).to_have_text("bob")
    expect(first.locator(".client")).to_have_text("Tally")
    expect(first.locator(".result")).to_contain_text("Refused: the code was already used")
    expect(first.locator(".result code")).to_have_text("token.code_once")
    first.locator("a").focus()
    identity = first.get_attribute("id")
    page.evaluate("id => document.querySelector(`#${id} .count`).textContent = 'old'", identity)
    other = Walker()
    started = other.submit(other.open(f"{stack.client}/"), f"{stack.client}/connect")
    expect(page.locator("#rows tr").first.locator(".result")).to_contain_text("In progress")
    assert page.evaluate("document.activeElement.closest('tr').id") == identity, "the row keeps the focus"
    answer = other.follow(other.submit(other.follow(started), username="bob", password="builder-lab"))
    if 'id="consent-allow"' in answer.text:
        other.follow(other.submit(answer, decision="allow"))
    expect(page.locator("#rows tr").first.locator(".result")).to_contain_text("Completed")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Replayed code")
    expect(page.locator("#outcome")).to_contain_text("Refused by the authorization server, as it should be")


def test_the_scroll_position_stays_when_a_row_appears(
    opened: Callable[..., Page], walker: Walker, stack: Stack
) -> None:
    run(walker, stack, "wrong_verifier")
    page = opened(f"{stack.observer}/", (900, 300))
    row = page.locator("#rows tr").first
    identity = row.get_attribute("id")
    page.evaluate("id => scrollTo(0, document.getElementById(id).getBoundingClientRect().top + scrollY)", identity)
    where = "id => document.getElementById(id).getBoundingClientRect().top"
    before = page.evaluate(where, identity)
    run(walker, stack, "wrong_verifier")
    expect(row).not_to_have_id(identity or "")
    assert page.evaluate(where, identity) == pytest.approx(before, abs=2)


def test_live_rows_respect_the_filters(opened: Callable[..., Page], walker: Walker, stack: Stack) -> None:
    page = opened(f"{stack.observer}/")
    page.locator("#outcome").focus()
    page.keyboard.type("Refused")
    page.locator("#filters button").press("Enter")
    page.wait_for_url("**/?*outcome=refused*")
    expect(page.locator("#live")).to_have_text("Live")
    run(walker, stack, "wrong_verifier")
    expect(page.locator("#rows tr").first).to_contain_text("Wrong code_verifier")
    connect(walker, stack.client, "bob", "builder-lab")
    run(walker, stack, "altered_token")
    expect(page.locator("#rows tr").first).to_contain_text("Altered access token")
    assert page.locator("#rows .result:not(.refused)").count() == 0
    expect(page.locator("#outcome")).to_have_value("refused")
    assert not serious(page)
    page.goto(f"{stack.observer}/?client=nobody")
    expect(page.locator("#empty")).to_contain_text("No flow matches these filters.")
    assert not serious(page)
    page.locator("#empty a").click()
    expect(page.locator("#rows tr").first).to_be_visible()


def test_the_projector_jumps_to_the_flow_that_starts(opened: Callable[..., Page], walker: Walker, stack: Stack) -> None:
    page = opened(f"{stack.observer}/")
    page.locator("#project").click()
    page.wait_for_url("**/flows/*present*follow*")
    run(walker, stack, "replayed_code")
    expect(page.locator("h1")).to_contain_text("Replayed code")
    expect(page.locator("#caption")).to_contain_text("The client redeems the same code twice")
    assert not serious(page)
    switch = page.locator("#stage [data-follow]")
    expect(switch).to_have_text("Following")
    walker.open(f"{stack.auth}/.well-known/openid-configuration")
    walker.open(f"{stack.auth}/jwks")
    walker.open(f"{stack.client}/invoices")
    switch.click()
    expect(switch).to_have_text("Follow")
    expect(switch).to_have_attribute("aria-checked", "false")
    assert "follow" not in page.url
    list_page = opened(f"{stack.observer}/")
    run(walker, stack, "wrong_verifier")
    expect(list_page.locator("#rows tr").first).to_contain_text("Wrong code_verifier")
    expect(page.locator("h1")).to_contain_text("Replayed code")
    switch.click()
    expect(page.locator("h1")).to_contain_text("Wrong code_verifier")
    assert re.search(r"[?&]present=&follow=", page.url)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_cards(opened: Callable[..., Page], walker: Walker, stack: Stack, scheme: str) -> None:
    run(walker, stack, "replayed_code")
    for size in (PHONE, (320, 640), WIDE):
        page = opened(f"{stack.observer}/", size, scheme)
        expect(page.locator("#rows tr").first.locator(".count")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not serious(page)
    phone = opened(f"{stack.observer}/", PHONE)
    expect(phone.locator("#rows tr").first.locator(".count")).to_contain_text(re.compile(r"\d+ messages"))


def test_without_script_the_list_is_a_page(opened: Callable[..., Page], walker: Walker, stack: Stack) -> None:
    page = opened(f"{stack.observer}/", script=False)
    expect(page.locator("#live")).to_have_text("As of when the page was loaded")
    page.locator("#client").select_option("Tally")
    page.locator("#filters button").click()
    expect(page.locator("#rows .client").first).to_have_text("Tally")
    page.locator("#rows a").first.click()
    expect(page.locator("#part-diagram")).to_be_visible()
    page.goto(f"{stack.observer}/?present")
    assert "Following needs JavaScript." in page.content()
