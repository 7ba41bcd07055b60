"""The diagram on a projector: sizes, keyboard, the inspector next to it, and present mode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from rolecall_lab.walker import Walker, connect
from support.browser.axe import serious
from support.observer_pages import newest_flow
from support.stack import Stack, wait_until

pytestmark = pytest.mark.browser

SIZES = [(1280, 720), (1440, 900), (1920, 1080)]

SMALLEST = """selector => Math.min(...[...document.querySelectorAll(selector)]
    .filter(each => each.checkVisibility()).map(each => parseFloat(getComputedStyle(each).fontSize)))"""
IN_VIEW = """selector => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return box.height > 0 && box.top >= 0 && box.left >= 0 && box.left < innerWidth && Math.min(box.bottom, box.top + 60) <= innerHeight;
}"""  # noqa: E501


@pytest.fixture(scope="module")
def flows(stack: Stack) -> dict[str, str]:
    """The pages of a plain flow with four lanes, of a refused one, and of one with two lanes."""
    walker = Walker()
    connect(walker, stack.client, "bob", "builder-lab")
    walker.follow(
        walker.submit(walker.open(f"{stack.client}/flows/replayed_code"), f"{stack.client}/flows/replayed_code/start")
    )
    walker.follow(
        walker.submit(walker.open(f"{stack.client}/flows/prompt_none"), f"{stack.client}/flows/prompt_none/start")
    )
    wanted = {
        "plain": ("Authorization code with PKCE", "POST /introspect"),
        "refused": ("Replayed code", "token.code_once"),
        "short": ("login_required", "GET /callback"),
    }
    wait_until(lambda: all(newest_flow(stack, *words) for words in wanted.values()))
    return {name: f"{stack.observer}/flows/{newest_flow(stack, *words)}" for name, words in wanted.items()}


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def projector(request: Any, chromium: Browser) -> Iterator[Page]:
    width, height = request.param
    context = chromium.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors


@pytest.mark.parametrize("name", ["plain", "short"])
@pytest.mark.parametrize("query", ["", "?message=3", "?view=everything", "?view=everything&message=3"])
def test_text_is_readable_with_any_number_of_lanes(
    projector: Page, flows: dict[str, str], name: str, query: str
) -> None:
    """Labels have at least 16 px; notes, values, and times at least 14 px; nothing scrolls sideways."""
    projector.goto(flows[name] + query)
    expect(projector.locator("#live")).to_have_text("Live")
    assert projector.evaluate(SMALLEST, "#part-diagram .label") >= (14 if "everything" in query else 16)
    assert 16 <= projector.evaluate(SMALLEST, "#part-diagram :is(.request, .response) .label") <= 20
    small = "#part-diagram :is(.detail, .value, .note, .about, .lane small, summary small, .n)"
    assert projector.evaluate(SMALLEST, small) >= 14
    assert projector.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_plain_flow_fits_on_two_screens(projector: Page, flows: dict[str, str]) -> None:
    projector.goto(flows["plain"])
    assert projector.evaluate("document.getElementById('part-diagram').offsetHeight") <= 1800


def test_the_message_and_its_reason_are_visible_together(projector: Page, flows: dict[str, str]) -> None:
    """The reason of a refusal is at the top of the inspector, and the diagram stays where it is."""
    projector.goto(flows["refused"])
    expect(projector.locator("#inspector")).to_be_hidden()
    projector.locator("#part-diagram .response.refused a.message").first.click()
    expect(projector.locator("#refusal-reason")).to_be_visible()
    for selector in ("#part-diagram .row.chosen", "#inspector", "#refusal-reason", "#part-diagram .lanes"):
        assert projector.evaluate(IN_VIEW, selector), selector
    assert not serious(projector)


def test_the_keyboard_goes_through_the_messages(projector: Page, flows: dict[str, str]) -> None:
    projector.goto(flows["refused"])
    projector.locator("#part-diagram a.message").first.click()
    numbers = []
    for key in ("Home", "ArrowDown", "PageDown", "ArrowRight", "ArrowLeft", "PageUp", "End"):
        before = projector.url
        projector.keyboard.press(key)
        if key != "Home":
            projector.wait_for_function("before => location.href !== before", arg=before)
        numbers.append(int(projector.url.rpartition("message=")[2]))
        expect(projector.locator("#inspector")).to_contain_text(f"Message {numbers[-1]} ")
        assert projector.evaluate("document.activeElement.closest('.row').dataset.message") == str(numbers[-1])
        assert projector.evaluate(IN_VIEW, "#part-diagram .row.chosen")
    first, second, third, fourth, *back, last = numbers
    assert first == 1 < second < third < fourth <= last
    assert back == [third, second]
    projector.keyboard.press("Escape")
    expect(projector.locator("#inspector")).to_be_hidden()
    assert "message" not in projector.url


def test_a_flow_is_presented_message_by_message(projector: Page, flows: dict[str, str]) -> None:
    """Present mode shows in large type who refused what and why, and responds to the keys of a clicker."""
    projector.goto(flows["refused"])
    expect(projector.locator("#live")).to_have_text("Live")
    projector.keyboard.press("p")
    caption = projector.locator("#caption")
    expect(caption).to_contain_text("The client redeems the same code twice")
    expect(projector.locator(".bar").first).to_be_hidden()
    last = int(projector.locator("#progress").get_attribute("max") or 0)
    told = []
    for step in range(1, last + 1):
        projector.keyboard.press("PageDown" if step % 2 else "ArrowRight")
        expect(projector.locator("#position")).to_have_text(f"{step} / {last}")
        told.append(caption.inner_text())
        if step < last:
            assert projector.evaluate(IN_VIEW, "#part-diagram .now"), told[-1]
            assert projector.locator("#part-diagram .now").count() == 1
    assert "The client sends the same code a second time, as happens when a code is stolen." in told
    assert "The authorization server refuses: the code was already used. Its authorization has ended." in told
    assert told[-1].endswith("RFC 6749 section 4.1.2")
    assert "Refused by the authorization server, as it should be" in told[-1]
    assert all(told)
    assert projector.evaluate(SMALLEST, "#caption") >= 24
    assert projector.evaluate(SMALLEST, "#part-diagram .label") >= 20
    assert not serious(projector)
    previous, following = (projector.get_by_role("button", name=name, exact=True) for name in ("Previous", "Next"))
    expect(following).to_be_disabled()
    expect(previous).to_be_enabled()
    projector.keyboard.press("Home")
    expect(projector.locator("#position")).to_have_text(f"0 / {last}")
    expect(previous).to_be_disabled()
    expect(following).to_be_enabled()
    projector.keyboard.press("Escape")
    expect(projector.locator("#stage")).to_be_hidden()
    expect(projector.locator(".bar").first).to_be_visible()


def test_a_presentation_goes_on_where_it_was(projector: Page, flows: dict[str, str]) -> None:
    projector.goto(f"{flows['refused']}?present&step=3")
    expect(projector.locator("#position")).to_contain_text("3 /")
    projector.reload()
    expect(projector.locator("#position")).to_contain_text("3 /")
    projector.keyboard.press("ArrowRight")
    projector.locator("#part-diagram .now a.message").click()
    expect(projector.locator("#inspector")).to_be_visible()
    projector.keyboard.press("Escape")
    expect(projector.locator("#inspector")).to_be_hidden()
    expect(projector.locator("#stage")).to_be_visible()


def test_a_presentation_starts_at_the_selected_message(projector: Page, flows: dict[str, str]) -> None:
    projector.goto(flows["refused"])
    refused = projector.locator("#part-diagram .row.response.refused").first
    refused.locator("a.message").click()
    expect(projector.locator("#inspector")).to_be_visible()
    projector.keyboard.press("p")
    expect(projector.locator("#stage")).to_be_visible()
    expect(projector.locator("#part-diagram .row.now")).to_have_attribute(
        "data-message", refused.get_attribute("data-message") or ""
    )
    switch = projector.locator(".tools a.turn", has_text="Show everything")
    expect(switch).to_have_attribute("href", re.compile(r"[?&]present"))
    projector.keyboard.press("p")
    expect(projector.locator("#stage")).to_be_hidden()
    expect(switch).not_to_have_attribute("href", re.compile(r"[?&]present"))


def test_without_script_a_presentation_is_a_large_diagram_with_captions(
    chromium: Browser, flows: dict[str, str]
) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.goto(f"{flows['refused']}?present")
    expect(page.locator("#part-diagram")).to_contain_text("The client sends the same code a second time")
    expect(page.locator("#part-diagram .row .caption").first).to_be_visible()
    expect(page.locator(".bar").first).to_be_hidden()
    context.close()


def test_the_owners_pages_open_in_place(projector: Page, flows: dict[str, str]) -> None:
    projector.goto(flows["plain"])
    fold = projector.locator("#part-diagram .fold.owner").first
    expect(fold.locator(".row").first).to_be_hidden()
    fold.locator("summary").click()
    expect(fold.locator(".row").first).to_be_visible()
    projector.get_by_role("switch", name="Show everything").click()
    expect(projector.locator("#part-diagram .lanes")).to_contain_text("Redis")
    expect(projector.locator("#part-diagram .passed").first).to_be_visible()
