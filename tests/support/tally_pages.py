"""What tests read from Tally's pages, and the buttons that they press there."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from rolecall_lab.walker import Page, Walker, connect
from support.stack import Stack

NATIVE_REDIRECT_URI = "http://127.0.0.1:9/callback"


def statuses(page: Page) -> list[str]:
    """The API's answers on the page with the invoices: one for each way of checking; of another page, what it is."""
    answers = re.findall(r'<span class="tag (?:yes|no)">(\d+) (?:accepted|rejected)', page.text)
    title = re.search(r"<h1[^>]*>\s*(.*?)\s*</h1>", page.text, re.DOTALL)
    return answers or [f"{page.status} {title[1] if title else page.location or ''}".strip()]


def connected(stack: Stack, who: str = "alice", password: str = "wonderland-lab") -> tuple[Walker, Page]:
    """A person who has signed in, allowed it, and sees the invoices."""
    walker = Walker()
    return walker, connect(walker, stack.client, who, password)


def withdraw_consent(stack: Stack, who: str = "alice", password: str = "wonderland-lab") -> None:
    """Disconnect Tally at the authorization server, so that the next request asks the person."""
    walker = Walker()
    apps = walker.follow(walker.submit(walker.open(f"{stack.auth}/sign-in"), username=who, password=password))
    walker.submit(apps, f"{stack.auth}/apps/disconnect", client_id="tally")


def press(walker: Walker, page: Page, stack: Stack, path: str) -> Page:
    """Send the page's form to another of Tally's addresses, and follow."""
    return walker.follow(walker.submit(page, f"{stack.client}{path}"))


def code_of_a_native_client(stack: Stack, who: str = "alice", password: str = "wonderland-lab") -> str:
    """Go through the flow by hand as `tally-desktop`, which knows nothing of the lab; gives the code."""
    walker = Walker()
    page = walker.follow(walker.open(native_request(stack)))
    page = walker.follow(walker.submit(page, username=who, password=password))
    page = walker.submit(page, decision="allow")
    assert page.location is not None
    page = walker.open(page.location)
    assert page.location is not None
    return urllib.parse.parse_qs(urllib.parse.urlsplit(page.location).query)["code"][0]


def native_request(stack: Stack) -> str:
    """Where `tally-desktop` sends a browser."""
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
    """The token response for such a code."""
    status, tokens = stack.call(
        "POST", f"{stack.auth}/token", _redemption(code_of_a_native_client(stack, who, password))
    )
    assert status == 200
    return tokens


def redeem_of_a_native_client(stack: Stack, code: str) -> int:
    """Present such a code; gives the status, 0 when the connection was cut."""
    try:
        return stack.call("POST", f"{stack.auth}/token", _redemption(code))[0]
    except OSError:
        return 0


def native_redemption(code: str) -> dict[str, str]:
    """The form with which it presents a code."""
    return {
        "grant_type": "authorization_code",
        "client_id": "tally-desktop",
        "code": code,
        "redirect_uri": NATIVE_REDIRECT_URI,
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    }


def _redemption(code: str) -> bytes:
    return urllib.parse.urlencode(native_redemption(code)).encode()
