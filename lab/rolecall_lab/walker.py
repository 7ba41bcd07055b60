"""A minimal browser without a window: cookies, forms with their hidden fields, and redirects one at a time."""

from __future__ import annotations

import http.client
import http.cookiejar
import re
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from html import unescape
from typing import Any, Final
from urllib.parse import urlencode, urljoin

TIMEOUT: Final = 10.0
"""Seconds to wait for a response."""

_SELF_SUBMITTING_FORM: Final = re.compile(r'<form method="post" action="([^"]+)" id="answer">')
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Page:
    """A response: its URL, its status, the absolute URL that it redirects to (or None), and its text."""

    url: str
    status: int
    location: str | None
    text: str

    def hidden(self) -> dict[str, str]:
        """Return the hidden fields of the page's forms."""
        return {name: unescape(value) for name, value in _HIDDEN.findall(self.text)}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


class _LoopbackConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        """Connect to loopback for names under `localhost` (RFC 6761 section 6.3), which not every resolver knows."""
        host = "127.0.0.1" if self.host.endswith(".localhost") else self.host
        self.sock = socket.create_connection((host, self.port), self.timeout)


class LocalNames(urllib.request.HTTPHandler):
    """A handler for http URLs whose host may be `*.localhost`."""

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open the URL; urllib calls this method by its name."""
        return self.do_open(_LoopbackConnection, request)


class Walker:
    """A browser, which keeps its cookies in memory.

    Args:
        handlers: further handlers for urllib, for other kinds of URL.
    """

    def __init__(self, *handlers: urllib.request.BaseHandler) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies),
            _NoRedirects(),
            # a configured proxy must not be used for this machine's own addresses
            urllib.request.ProxyHandler({}),
            LocalNames(),
            *handlers,
        )

    def open(self, url: str, form: dict[str, str] | None = None) -> Page:
        """GET a page, or POST a form to it, without following redirects.

        Raises:
            OSError: the connection fails, or the response is incomplete.
        """
        data = urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(url, data, {"Accept": "text/html"})  # noqa: S310  only the lab's addresses
        try:
            with self._response(request) as response:
                location = response.headers.get("Location")
                text = response.read().decode(errors="replace")
                return Page(url, response.status, urljoin(url, location) if location else None, text)
        except http.client.HTTPException as error:
            raise ConnectionResetError(f"the response is incomplete: {type(error).__name__}") from error

    def _response(self, request: urllib.request.Request) -> Any:
        try:
            return self._opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            return error

    def follow(self, page: Page) -> Page:
        """Follow redirects and self-submitting forms, and return the first page that has neither."""
        while True:
            if page.location is not None:
                page = self.open(page.location)
            elif form := _SELF_SUBMITTING_FORM.search(page.text):
                page = self.submit(page, unescape(form[1]))
            else:
                return page

    def submit(self, page: Page, url: str | None = None, **fields: str) -> Page:
        """Submit the page's form, by default to the page's own URL."""
        return self.open(url or page.url, {**page.hidden(), **fields})


def connect(walker: Walker, client_url: str, username: str, password: str) -> Page:
    """Connect the client as a user would (click the button, sign in, and allow), and return the page with the invoices.

    Raises:
        OSError: a request failed.
        RuntimeError: the flow ended on another page.
    """
    page = walker.follow(walker.submit(walker.open(f"{client_url}/"), f"{client_url}/connect"))
    if 'id="login-submit"' in page.text:
        page = walker.follow(walker.submit(page, username=username, password=password))
    if 'id="consent-allow"' in page.text:
        page = walker.follow(walker.submit(page, decision="allow"))
    if not page.url.startswith(f"{client_url}/invoices") or page.status != 200:
        title = re.search(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)
        raise RuntimeError(f"{page.url} responded with {page.status}: {unescape(title[1]).strip() if title else '?'}")
    return page
