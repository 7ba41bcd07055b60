"""Documents that the authorization server fetches for a client in the running stack: keys, a request, and a logo."""

from __future__ import annotations

import re
import urllib.request
from urllib.parse import urljoin

import pytest

from rolecall_lab.walker import LocalNames, Page, Walker
from support.stack import Stack, wait_until
from support.tally_pages import press

pytestmark = pytest.mark.integration


def asked(stack: Stack, walker: Walker, name: str) -> Page:
    """Start a flow of the catalog, and sign in as alice; return the consent page."""
    page = press(walker, walker.open(f"{stack.client}/flows/{name}"), stack, f"/flows/{name}/start")
    page = walker.follow(walker.submit(page, username="alice", password="wonderland-lab"))
    assert 'id="consent-allow"' in page.text
    return page


@pytest.mark.parametrize("name", ["published_keys", "request_uri", "introduced_client"])
def test_it_is_reached_where_the_stack_runs(stack: Stack, name: str) -> None:
    """RFC 7591 section 2, RFC 9101 section 5.2, OpenID Connect Core section 10.1.1; containers have other addresses."""

    def is_as_expected() -> bool:
        walker = Walker()
        page = walker.follow(walker.submit(asked(stack, walker, name), decision="allow"))
        assert page.url == f"{stack.client}/flows/{name}#came"
        return '<span class="tag yes">as expected</span>' in page.text

    # within a second of Redis's start, a client that signs has to sign again
    wait_until(is_as_expected)


def test_a_logo_is_shown_from_the_servers_own_address(stack: Stack) -> None:
    """RFC 7591 section 2: the client does not notice that a user looks at the consent page."""
    walker = Walker()
    page = asked(stack, walker, "introduced_client")
    [address] = re.findall(r'<img class="avatar" src="(/[^"]+)"', page.text)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), LocalNames())
    with opener.open(urljoin(stack.auth, address), timeout=60) as answer:
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.read().startswith(b"\x89PNG")
