"""The observer in a browser: a running flow, a denial, a replay, an API without responses, and both validators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from rolecall_lab.walker import Walker
from support.browser.axe import serious
from support.hostile_client import ATTRIBUTE, CALLBACK, IMAGE, SCRIPT, authorization_request, register, use
from support.observer_pages import newest_flow
from support.stack import Stack, suspended, wait_until
from support.tally_pages import connected, press

pytestmark = pytest.mark.browser

LOOKS = {
    "wide-light": (1440, 900, "light"),
    "wide-dark": (1440, 900, "dark"),
    "phone-light": (375, 740, "light"),
    "phone-dark": (375, 740, "dark"),
}


@pytest.fixture(autouse=True)
def _nobody_is_connected(stack: Stack) -> None:
    walker = Walker()
    page = walker.follow(
        walker.submit(walker.open(f"{stack.auth}/sign-in"), username="alice", password="wonderland-lab")
    )
    walker.submit(page, f"{stack.auth}/apps/disconnect", client_id="tally")


@pytest.fixture(
    params=[
        "wide-light",
        *(pytest.param(look, marks=pytest.mark.long) for look in LOOKS if look != "wide-light"),
    ]
)
def page(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Page]:
    """A tab with one width and color scheme, which fails the test on a JavaScript error."""
    width, height, scheme = LOOKS[request.param]
    context: BrowserContext = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    context.set_default_timeout(60_000)
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    context.close()
    assert not errors


def looks_well(page: Page) -> None:
    """Check that the page does not scroll sideways, and that axe-core does not find serious problems."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.mouse.move(0, 0)  # a value under the pointer dims all elements without it
    assert not serious(page)


def is_phone(page: Page) -> bool:
    return page.viewport_size is not None and page.viewport_size["width"] < 500


def choose(page: Page, words: str) -> None:
    """Open a message in the inspector."""
    page.locator("#part-diagram a.message", has_text=words).first.click()


def connect(page: Page, stack: Stack, decision: str = "allow") -> None:
    page.goto(stack.client)
    page.locator("form[action='/connect'] button").first.click()
    page.fill("input[name=username]", "alice")
    page.fill("input[name=password]", "wonderland-lab")
    page.click("#login-submit")
    page.click(f"#consent-{decision}")


def open_picture(page: Page) -> None:
    """Open the picture that the current page links to."""
    address = page.locator("a[href*='/of/']").get_attribute("href")
    assert address is not None
    page.goto(address)
    expect(page.locator("#live")).to_have_text("Live")


def test_the_plain_flow_is_told_message_by_message(page: Page, stack: Stack) -> None:
    connect(page, stack)
    open_picture(page)
    looks_well(page)
    expect(page.locator("#part-diagram .arrow").first).to_be_visible(visible=not is_phone(page))
    expect(page.locator("#part-diagram .route").first).to_be_visible(visible=is_phone(page))
    choose(page, "POST /token")
    inspector = page.locator("#inspector")
    expect(inspector).to_contain_text("PKCE, step by step")
    expect(inspector).to_contain_text("equal: the client that redeems the code also requested it")
    expect(inspector).to_contain_text("Valid signature")
    left = inspector.locator("[data-expires]").first
    expect(left).to_have_text(re.compile(r"in .*\d+ s"))
    before = left.inner_text()
    expect(left).not_to_have_text(before)
    looks_well(page)
    seen = page.locator("table.seen")
    row = seen.locator("tr", has_text="code_verifier")
    expect(row.locator("td").first).not_to_contain_text("code_verifier")
    seen.get_by_role("button", name="access_token").click()
    expect(page.locator("#flow")).to_have_class(re.compile("following"))
    assert page.locator("#part-diagram .value.lit").count() >= 2


def test_without_script_the_page_is_all_there(chromium: Browser, stack: Stack) -> None:
    """The server draws the picture, messages are links, and the page does not claim to be live."""
    _, invoices = connected(stack)
    address = re.search(rf"{re.escape(stack.observer)}/of/[0-9a-f]+", invoices.text)
    assert address is not None
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address[0])
    expect(page.locator("#live")).to_have_text("As of when the page was loaded")
    choose(page, "POST /token")
    expect(page.locator("#inspector")).to_contain_text("PKCE, step by step")
    expect(page.locator("table.seen")).to_contain_text("access_token")
    context.close()


def test_the_picture_grows_while_people_look(page: Page, stack: Stack) -> None:
    walker, invoices = connected(stack)
    address = re.search(rf"{re.escape(stack.observer)}/of/[0-9a-f]+", invoices.text)
    assert address is not None
    page.goto(address[0])
    expect(page.locator("#live")).to_have_text("Live")
    choose(page, "POST /token")
    expect(page.locator("#inspector")).to_contain_text("grant_type")
    count = page.locator("#part-diagram li.row").count()
    press(walker, invoices, stack, "/refresh")
    expect(page.locator("#part-diagram li.row").nth(count + 1)).to_be_attached()
    assert page.locator("#part-diagram .row.chosen").count() >= 2, "the chosen message stays chosen"


def test_a_denial_ends_at_the_lane_that_said_no(page: Page, stack: Stack) -> None:
    connect(page, stack, "deny")
    expect(page.locator("main")).to_contain_text("You denied access")
    open_picture(page)
    expect(page.locator("#part-diagram .response.refused").first).to_be_attached()
    expect(page.locator("#part-diagram")).to_contain_text("access_denied")
    looks_well(page)


def test_a_replayed_code_is_refused_and_what_it_gave_is_dead(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.client}/flows/replayed_code")
    looks_well(page)
    page.locator("form[action$='/flows/replayed_code/start'] button").first.click()
    page.fill("input[name=username]", "alice")
    page.fill("input[name=password]", "wonderland-lab")
    page.click("#login-submit")
    page.click("#consent-allow")
    expect(page.locator("#came")).to_contain_text("invalid_grant")
    expect(page.locator("#came")).to_contain_text("invalid_token")
    looks_well(page)
    page.get_by_role("link", name="Open in the observer").click()
    body = page.locator("#part-diagram")
    expect(body).to_contain_text("token.code_once")
    assert page.locator("#part-diagram .response.refused").count() >= 2
    choose(page, "POST /token")
    looks_well(page)


def test_the_two_checks_side_by_side(page: Page, stack: Stack) -> None:
    connect(page, stack)
    page.goto(f"{stack.client}/compare")
    page.get_by_role("button", name="Send it with both methods").click()
    expect(page.locator("main")).to_contain_text("Introspection")
    looks_well(page)
    page.get_by_role("button", name="Revoke the token").click()
    board = page.locator("#board")
    expect(board).to_contain_text("rejected after")
    expect(board).to_contain_text("still accepted after")
    expect(board.get_by_text("still accepted after")).to_be_in_viewport()
    if page.viewport_size and page.viewport_size["width"] > 1000:
        expect(page.locator("#event-disconnect")).to_be_in_viewport()
    looks_well(page)


@pytest.mark.embedded
def test_an_api_that_does_not_answer_is_drawn_from_the_clients_side(page: Page, stack: Stack) -> None:
    connect(page, stack)
    with suspended(stack.pids["resource-service"]):
        page.goto(f"{stack.client}/invoices", timeout=60_000)
        expect(page.locator("main")).to_contain_text("is not responding")
        page.goto(f"{stack.observer}/")
        page.locator("main table a").first.click()
        unanswered = page.locator("#part-diagram .request.refused")
        expect(unanswered.first).to_be_attached()
        expect(page.locator("#part-diagram")).to_contain_text("no response")
        looks_well(page)


RAN = "window.taken || document.querySelector('[onerror], [onfocus], script:not([src])') !== null"
"""Whether markup in a message has run, or is in the page in a form that could run."""


@pytest.mark.parametrize("markup", [SCRIPT, IMAGE, ATTRIBUTE])
def test_nothing_that_was_sent_runs_in_the_page(chromium: Browser, stack: Stack, markup: str) -> None:
    """Markup in a client's name, a state, and a header, drawn by the server or inserted while the page is open.

    The Content-Security-Policy is switched off, because it would hide a lack of escaping.
    """
    context = chromium.new_context(bypass_csp=True)
    context.set_default_timeout(60_000)
    dialogs: list[str] = []
    context.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    trial = context.new_page()
    trial.set_content(f"<p title='{markup}'>{markup}</p><p title=\"{markup}\"></p>")
    trial.wait_for_function("window.taken === 1")  # the markup does run if it is not escaped
    dialogs.clear()

    client_id, state, agent = register(stack, markup), f"a state {markup}", f"agent {markup}"
    person, viewer = context.new_page(), context.new_page()
    person.goto(authorization_request(stack, client_id, state))
    person.fill("input[name=username]", "bob")
    person.fill("input[name=password]", "builder-lab")
    person.click("#login-submit")
    expect(person.locator("main")).to_contain_text(markup)
    wait_until(lambda: newest_flow(stack, client_id[:5], "GET /consent"))
    viewer.goto(f"{stack.observer}/flows/{newest_flow(stack, client_id[:5], 'GET /consent')}")
    expect(viewer.locator("#live")).to_have_text("Live")
    assert not person.evaluate(RAN)
    with person.expect_request(f"{CALLBACK}**") as back:  # no server listens there
        person.click("#consent-allow")
    use(stack, client_id, parse_qs(urlsplit(back.value.url).query)["code"][0], agent)
    for words, shown in (("POST /token", agent), ("GET /authorize", state)):
        choose(viewer, words)
        expect(viewer.locator("#inspector")).to_contain_text(shown)
        for each in viewer.locator("#inspector a, #inspector button, #inspector summary").all()[:20]:
            each.focus()
    assert not viewer.evaluate(RAN)
    person.goto(f"{stack.observer}/")
    assert not person.evaluate(RAN)
    context.close()
    assert not dialogs
