"""Each page leads to the diagram of its messages, and each error page to its own request."""

from __future__ import annotations

import re
from html import unescape

import pytest

from rolecall_lab.walker import Page, Walker
from support.stack import Stack, wait_until
from support.tally_pages import connected, press, withdraw_consent

pytestmark = pytest.mark.integration

REFUSAL = "See this request in the diagram"


def link_on(stack: Stack, text: str) -> tuple[str, str]:
    """Return the URL and the label of the only link to a diagram."""
    found = re.findall(rf'href="({re.escape(stack.observer)}/of/[0-9a-f]{{32}}[^"]*)"[^>]*>([^<]+)<', text)
    assert len(found) == 1, found
    url, label = found[0]
    return unescape(url), label


def diagram_of(stack: Stack, text: str, *words: str) -> str:
    """Return the linked page once it contains these words; messages of other processes appear a little later."""
    url, _ = link_on(stack, text)
    pages: list[Page] = []

    def has_them() -> bool:
        pages.append(Walker().follow(Walker().open(url)))
        assert pages[-1].status == 200
        return all(word in unescape(pages[-1].text) for word in words)

    wait_until(has_them)
    return pages[-1].text


def test_the_error_page_of_the_authorization_server_leads_to_the_reason(stack: Stack) -> None:
    """RFC 6749 section 4.1.2.1: errors that the client never sees."""
    for query, reason, check in (
        ("", "The client_id is missing or unknown.", "authorize.client_id"),
        ("client_id=tally&redirect_uri=http://evil.example/", "not registered", "authorize.redirect_uri"),
    ):
        page = Walker().open(f"{stack.auth}/authorize?response_type=code&{query}")
        assert page.status == 400
        assert link_on(stack, page.text)[1] == REFUSAL
        diagram_of(
            stack, page.text, "Why it was refused", reason, check, "Why it matters", "What to change in your client"
        )


def test_tallys_error_pages_lead_to_the_reason(stack: Stack) -> None:
    """A forged response, and pages without a connection."""
    page = Walker().open(f"{stack.client}/callback?code=x&state=forged")
    assert (page.status, link_on(stack, page.text)[1]) == (400, REFUSAL)
    diagram_of(stack, page.text, "Why it was refused", "client.state", "cross-site request forgery")
    for path in ("/invoices", "/me", "/nothing", "/flows/nothing"):
        page = Walker().open(f"{stack.client}{path}")
        assert page.status in {403, 404}
        assert link_on(stack, page.text)[1] == REFUSAL, path
        diagram_of(stack, page.text, f"GET {path}")


def test_the_page_after_a_denial_names_it_and_leads_to_the_error(stack: Stack) -> None:
    """RFC 6749 section 4.1.2.1; Tally asked for a sign-in and not for invoices."""
    withdraw_consent(stack)
    walker = Walker()
    page = press(walker, walker.open(stack.client), stack, "/sign-in")
    page = walker.follow(walker.submit(page, username="alice", password="wonderland-lab"))
    page = walker.follow(walker.submit(page, decision="deny"))
    assert "You did not allow what Tally requested: openid profile email." in page.text
    assert "invoices" not in re.sub(r"<[^>]+>", " ", page.text.partition("<main")[2].partition("</main>")[0])
    diagram_of(stack, page.text, "The error in this response", "access_denied", "What to change in your client")


def test_the_apis_page_for_browsers_leads_to_the_reason(stack: Stack) -> None:
    """RFC 6750 section 3.1."""
    page = Walker().open(f"{stack.api}/invoices")
    assert (page.status, link_on(stack, page.text)[1]) == (401, REFUSAL)
    diagram_of(stack, page.text, "bearer.present", "What to change in your client or API")


def test_pages_lead_to_the_messages_behind_them(stack: Stack) -> None:
    """Tally's pages and the account pages link to their flow."""
    walker, invoices = connected(stack)
    diagram_of(stack, invoices.text, "POST /connect", "GET /invoices")
    page = press(walker, walker.open(stack.client), stack, "/sign-in")
    if 'value="allow"' in page.text:
        diagram_of(stack, page.text, "POST /sign-in", f"GET {stack.base}/authorize")
        page = walker.follow(walker.submit(page, decision="allow"))
    assert page.url.endswith("/me")
    diagram_of(stack, page.text, "POST /sign-in", "GET /callback")
    for url in (
        f"{stack.client}/",
        f"{stack.client}/compare",
        f"{stack.auth}/apps",
        f"{stack.auth}/",
    ):
        page = walker.open(url)
        assert page.status == 200
        assert "See the messages behind this page" in page.text, url
        diagram_of(stack, page.text, "Who has seen which value")
    assert "See the messages behind this page" in walker.open(f"{stack.client}/flows").text


def test_a_refused_token_leads_from_tallys_page_to_the_check(stack: Stack) -> None:
    walker, page = connected(stack)
    press(walker, page, stack, "/revoke")
    page = walker.open(f"{stack.client}/invoices?check=introspection")
    assert link_on(stack, page.text)[1] == REFUSAL
    diagram_of(stack, page.text, "Why the token is not active", "introspect.revoked")
