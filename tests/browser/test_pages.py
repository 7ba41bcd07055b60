"""Every page in every state: structure, narrow screens, forced colors, focus order, and print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, Route, expect

from support import containers
from support.browser.accounts import CALLBACK, asks, registered
from support.browser.axe import serious
from support.browser.serving import serving
from support.browser.states import connected, listed, seeds, tally, walk
from support.stack import Stack, running_stack
from support.tally import API

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(containers.asked_for(), reason="the states need other seeds"),
]

FITS = "document.documentElement.scrollWidth <= window.innerWidth"


@pytest.fixture
def stack_of_states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("states")
    with running_stack(folder / "stack", SEEDS_FILE=str(seeds(folder))) as running:
        yield running


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def invoices(context: BrowserContext, stack: Stack) -> Iterator[Page]:
    """Tally's page with three invoices, requested with both validators."""
    app, http = tally(stack.redis_url)
    http.answers[f"{API}/invoices"] = (200, {"invoices": [listed(number) for number in range(3)]}, {})
    page = context.new_page()
    with serving(app) as address:
        connected(page, address)
        page.goto(f"{address}/invoices?check=both")
        yield page


TABBED: Final = 40
"""Maximum number of focusable elements of a page that are visited."""

FOLLOW: Final = """() => {
  window.places = [];
  const parts = 'section, header, footer, main, details, fieldset';
  removeEventListener('focusin', window.follow);  // of the time before
  window.follow = ({target}) => {
    const {top, bottom, left, right} = target.getBoundingClientRect(), look = getComputedStyle(target);
    const name = `${target.tagName} ${target.id} ${target.textContent.trim().slice(0, 30)}`;
    const section = target.closest(parts), box = target.closest('.inspector');
    // the inspector scrolls by itself, below its bar
    const scrolled = box && !target.closest('.inspector-bar') ? box.scrollTop : 0;
    const shift = box ? scrolled - box.getBoundingClientRect().top : scrollY;
    places.push({name, top: top + shift, bottom: bottom + shift, left, right, section: all.indexOf(section), box: !!box,
      seen: bottom > 0 && top < innerHeight && right > 0 && left < innerWidth,
      marked: look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 2});
  };
  addEventListener('focusin', follow);
  const all = [...document.querySelectorAll(parts)];
  const focusable = ':is(button, input, select, textarea):enabled:not([type=hidden]), '
    + 'a[href]:not([tabindex="-1"]), summary, iframe, [tabindex="0"]';
  document.body.tabIndex = -1;
  (document.querySelector('.skip') ?? document.body).focus();
  return [...document.querySelectorAll(focusable)].filter(each => each.checkVisibility()).length;
}"""
"""Script that records each element that gets the focus, and returns the number of focusable elements."""


def focus_faults(page: Page) -> list[str]:
    """Press Tab repeatedly; return where the focus is not visible or moves up the page.

    In side-by-side columns, the focus goes down one column and then the next: it may move up between parts, but not
    within a part. In a single column, it never moves up.
    """
    count = page.evaluate(FOLLOW)
    skips = page.locator(".skip").count()
    presses = min(count, TABBED) - skips
    for _ in range(presses):
        page.keyboard.press("Tab")
    places = page.evaluate("places")[1:]  # without the starting point
    faults = [f"the focus is not seen on {each['name']}" for each in places if not each["seen"]]
    faults += [f"the focus leaves no mark on {each['name']}" for each in places if not each["marked"]]
    if len(places) < presses:
        faults.append(f"the focus came to {len(places)} of {presses} places")
    single = page.viewport_size is not None and page.viewport_size["width"] < 500
    for earlier, later in pairwise(places):
        together = earlier["section"] == later["section"]
        if (single or together) and earlier["box"] == later["box"] and later["bottom"] <= earlier["top"]:
            faults.append(f"the focus goes up from {earlier['name']} to {later['name']}")
    return faults


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_state_of_every_page(context: BrowserContext, stack_of_states: Stack, tmp_path: Path) -> None:
    """One h1 and one main, a unique title, headings in order, nothing cut off at 320 px, or at 360 px and 200 %.

    The focus moves down the page and stays visible; axe-core finds no serious problems in light or dark mode.
    """
    page = context.new_page()
    faults: list[str] = []
    titles: dict[str, str] = {}

    def look(name: str) -> None:
        page.wait_for_load_state()

        def note(fine: object, what: str) -> None:
            if not fine:
                faults.append(f"{name}: {what}")

        levels = [int(level) for level in page.eval_on_selector_all("h1,h2,h3", "all => all.map(h => h.tagName[1])")]
        note(levels.count(1) == 1, f"headings {levels}")
        note(all(later - earlier <= 1 for earlier, later in zip([0, *levels], levels, strict=False)), f"order {levels}")
        note(page.locator("main").count() == 1, "main")
        note(page.locator("header").count() == 1, "header")
        if not name.startswith("front-"):
            note(
                re.fullmatch(r".{4,}(?s: · )(Tally|Rolecall Accounts|Invoices API|Observer)", page.title()),
                page.title(),
            )
            main = page.locator("nav[aria-label=Main]")  # the lab's pages have two, one of them in the menu for phones
            note(main.count() >= 1 >= main.locator("visible=true").count(), "navigation")
            note(page.locator("footer").count() == 1, "footer")
        titles[name] = page.title()
        faults.extend(f"{name}: {each}" for each in serious(page))
        page.emulate_media(color_scheme="dark")
        faults.extend(f"{name}, dark: {each}" for each in serious(page, only="color-contrast"))
        page.emulate_media(color_scheme="light")
        faults.extend(f"{name}: {each}" for each in focus_faults(page))
        for width in (3840, 320, 180):
            page.set_viewport_size({"width": width, "height": 640})
            note(page.evaluate(FITS), f"too wide at {width}")
        page.set_viewport_size({"width": 360, "height": 640})
        faults.extend(f"{name}, narrow: {each}" for each in focus_faults(page))
        page.emulate_media(forced_colors="active")
        note(page.evaluate(FITS), "too wide with forced colours")
        page.emulate_media(forced_colors="none", media="print")
        note(page.locator("h1").is_visible(), "no h1 in print")
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 1280, "height": 800})

    walk(page, stack_of_states, tmp_path, look)
    assert not faults, "\n".join(faults)
    assert len(titles) > 75
    assert titles["client-code-refused"] != titles["client-refresh-refused"]
    assert titles["client-refused"] != titles["client-invoices"]


def test_the_focus_goes_down_the_page(invoices: Page) -> None:
    expected = [
        "ask-introspection", "ask-jwt", "ask-both", "refresh", "revoke", "disconnect",
    ]  # fmt: skip
    invoices.keyboard.press("Tab")
    expect(invoices.locator(":focus")).to_have_text("Skip to the content")
    expect(invoices.locator(":focus")).to_be_in_viewport()
    seen, places = [], []
    for _ in range(20):
        invoices.keyboard.press("Tab")
        focused = invoices.locator(":focus")
        if not focused.count() or (box := focused.bounding_box()) is None:
            break
        seen.append(focused.get_attribute("id"))
        places.append(box["y"])
        if seen[-1] is None and "connected apps" in (focused.text_content() or ""):
            break
    assert [name for name in seen if name] == expected
    assert all(later >= earlier - 1 for earlier, later in pairwise(places)), places


def test_the_skip_link_leads_to_the_content(invoices: Page) -> None:
    invoices.keyboard.press("Tab")
    invoices.keyboard.press("Enter")
    expect(invoices.locator("#main")).to_be_focused()


def test_on_a_phone_the_answers_come_before_the_list(invoices: Page) -> None:
    invoices.set_viewport_size({"width": 360, "height": 740})
    tops = [invoices.locator(f".{part}").bounding_box()["y"] for part in ("ask", "answers", "list", "held")]  # type: ignore[index]
    assert tops == sorted(tops)


def test_forced_colours_still_show_which_way_was_chosen(invoices: Page) -> None:
    invoices.emulate_media(forced_colors="active")
    colour = "each => getComputedStyle(each).backgroundColor"
    chosen, other = (invoices.locator(f"#ask-{way}").evaluate(colour) for way in ("both", "jwt"))
    assert chosen != other
    # the browser paints the page's color behind text
    invoices.goto(invoices.url.split("/invoices")[0])
    page_colour = invoices.locator("body").evaluate(colour)
    for part in ("a.button.big", ".steps .number", ".brand-role", ".eyebrow"):
        text = invoices.locator(part).first.evaluate("each => getComputedStyle(each).color")
        assert text != page_colour, part


def test_a_printed_page_has_what_is_read_and_nothing_to_press(invoices: Page) -> None:
    invoices.emulate_media(media="print", color_scheme="dark")
    expect(invoices.locator("h1")).to_be_visible()
    expect(invoices.locator("h2", has_text="3 invoices")).to_be_visible()
    assert not invoices.get_by_role("button").filter(visible=True).count()
    expect(invoices.locator("h2", has_text="Token validation")).to_be_hidden()
    assert invoices.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


MOTION = "['.row.new', '#press'].map(each => getComputedStyle(document.querySelector(each)))"
MOVES = f"() => {{ const [row, button] = {MOTION}; return [row.animationName, button.translate]; }}"


def test_nothing_moves_for_who_wants_no_motion(context: BrowserContext, stack: Stack) -> None:
    """The only animations are a new message in a picture, and a pressed button."""
    page = context.new_page()
    page.goto(f"{stack.observer}/")
    parts = '<p class="row new">It came.</p><button id="press">Press</button>'
    page.evaluate("parts => document.querySelector('main').insertAdjacentHTML('afterbegin', parts)", parts)
    page.hover("#press")
    page.mouse.down()
    for wish, moves in (("no-preference", ["came", "0px 1px"]), ("reduce", ["none", "none"])):
        page.emulate_media(reduced_motion=wish)  # type: ignore[arg-type]
        assert page.evaluate(MOVES) == moves


def test_a_page_works_before_its_style_sheet_has_come(chromium: Browser, stack: Stack) -> None:
    """Without its style sheet, for example on a slow network, the page is in reading order and usable."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.route("**/*.css*", lambda route: route.abort())
    page.goto(f"{stack.auth}/sign-in")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")
    expect(page.locator("h1")).to_have_text("Connected apps")
    mark = page.locator("svg.mark").bounding_box()
    assert mark is None or mark["width"] < 100, "the mark has its own size"
    context.close()


def test_a_page_can_be_used_before_what_is_late_has_come(context: BrowserContext, stack: Stack) -> None:
    """On a slow network, a logo or an icon does not block the user or shift the layout when it arrives."""
    page = context.new_page()
    page.goto(f"{stack.auth}/sign-in")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")
    client_id = registered(stack, "Late", logo_uri=f"{stack.client}/flows/static/tally.png")
    held: list[Route] = []
    page.route(re.compile(r"/logo|/icon\.svg"), lambda route: held.append(route))  # noqa: PLW0108  a builtin will not do
    page.route(f"{CALLBACK}**", lambda route: route.fulfill(body="There"))

    def ask() -> dict[str, float]:
        page.goto(asks(stack, client_id, prompt="consent"), wait_until="domcontentloaded")
        place = page.locator("#consent-deny").bounding_box()
        assert place is not None
        return dict(place)

    early = ask()
    expect(page.locator("img.avatar")).to_have_js_property("complete", value=False)
    for route in held:
        route.continue_()
    expect(page.locator("img.avatar")).to_have_js_property("complete", value=True)
    assert page.locator("#consent-deny").bounding_box() == early
    held.clear()
    ask()
    page.click("#consent-deny")
    page.wait_for_url(f"{CALLBACK}**")
    assert held, "the logo and the icon were delayed"


@pytest.mark.parametrize("service", ["client", "auth", "api"])
def test_a_first_page_is_small(context: BrowserContext, stack: Stack, service: str) -> None:
    """With an empty cache, it takes about a second at 50 kB per second, and at most three requests.

    The lab adds its bar and, in Tally, the frame of the diagram.
    """
    page = context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108
    page.goto(getattr(stack, service), wait_until="networkidle")
    assert 2 <= len([answer for answer in answers if "/static/lab/" not in answer.url]) <= 3
    assert sum(len(answer.body()) for answer in answers) < 50_000
