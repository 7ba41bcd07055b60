"""Functions that read Tally's pages and press their buttons."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from rolecall_lab.walker import Page, Walker, connect
from support.stack import Stack

NATIVE_REDIRECT_URI = "http://127.0.0.1:9/callback"


def statuses(page: Page) -> list[str]:
    """Return the status that each validator returned, from the page with the invoices; of other pages, the title."""
    answers = re.findall(r'<span class="tag (?:yes|no|open)">(\d+) (?:accepted|rejected|not validated)', page.text)
    title = re.search(r"<h1[^>]*>\s*(.*?)\s*</h1>", page.text, re.DOTALL)
    return answers or [f"{page.status} {title[1] if title else page.location or ''}".strip()]


def connected(stack: Stack, who: str = "alice", password: str = "wonderland-lab") -> tuple[Walker, Page]:
    """Return the browser of a person who has signed in and allowed access, and the page with the invoices."""
    walker = Walker()
    return walker, connect(walker, stack.client, who, password)


def withdraw_consent(stack: Stack, who: str = "alice", password: str = "wonderland-lab") -> None:
    """Disconnect Tally at the authorization server, so that the next request asks the person."""
    walker = Walker()
    apps = walker.follow(walker.submit(walker.open(f"{stack.auth}/sign-in"), username=who, password=password))
    walker.submit(apps, f"{stack.auth}/apps/disconnect", client_id="tally")


def press(walker: Walker, page: Page, stack: Stack, path: str) -> Page:
    """Send the page's form to another URL of Tally, and follow redirects."""
    return walker.follow(walker.submit(page, f"{stack.client}{path}"))


def code_of_a_native_client(stack: Stack, who: str = "alice", password: str = "wonderland-lab") -> str:
    """Run the flow as `tally-desktop`, which has no code of the lab; return the code."""
    walker = Walker()
    page = walker.follow(walker.open(native_request(stack)))
    page = walker.follow(walker.submit(page, username=who, password=password))
    page = walker.submit(page, decision="allow")
    assert page.location is not None
    page = walker.open(page.location)
    assert page.location is not None
    return urllib.parse.parse_qs(urllib.parse.urlsplit(page.location).query)["code"][0]


def native_request(stack: Stack) -> str:
    """Return the URL to which `tally-desktop` sends a browser."""
    query = {
        "response_type": "code",
        "client_id": "tally-desktop",
        "redirect_uri": NATIVE_REDIRECT_URI,
        "scope": "invoices:read",
        "state": "a-state-of-curl-1234",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    return f"{stack.auth}/authorize?{urllib.parse.urlencode(query)}"


def tokens_of_a_native_client(stack: Stack, who: str = "alice", password: str = "wonderland-lab") -> dict[str, Any]:
    """Return the token response for such a code."""
    status, tokens = stack.call(
        "POST", f"{stack.auth}/token", _redemption(code_of_a_native_client(stack, who, password))
    )
    assert status == 200
    return tokens


def redeem_of_a_native_client(stack: Stack, code: str) -> int:
    """Redeem such a code; return the status, or 0 if the connection was cut."""
    try:
        return stack.call("POST", f"{stack.auth}/token", _redemption(code))[0]
    except OSError:
        return 0


def native_redemption(code: str) -> dict[str, str]:
    """Return the form with which `tally-desktop` redeems a code."""
    return {
        "grant_type": "authorization_code",
        "client_id": "tally-desktop",
        "code": code,
        "redirect_uri": NATIVE_REDIRECT_URI,
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    }


def _redemption(code: str) -> bytes:
    return urllib.parse.urlencode(native_redemption(code)).encode()
