"""A person's browser without a window: cookies, forms with their hidden fields, redirects one at a time."""

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
"""Seconds for one answer."""

_SENDS_ITSELF: Final = re.compile(r'<form method="post" action="([^"]+)" id="answer">')
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser is shown: where it is, the status, where it is sent on to (absolute) or None, and the text."""

    url: str
    status: int
    location: str | None
    text: str

    def hidden(self) -> dict[str, str]:
        """The hidden fields of the page's forms."""
        return {name: unescape(value) for name, value in _HIDDEN.findall(self.text)}


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


class _Local(http.client.HTTPConnection):
    def connect(self) -> None:
        """Names under `localhost` are loopback (RFC 6761 section 6.3); not every resolver knows."""
        host = "127.0.0.1" if self.host.endswith(".localhost") else self.host
        self.sock = socket.create_connection((host, self.port), self.timeout)


class LocalNames(urllib.request.HTTPHandler):
    """Opens http addresses whose host may be `*.localhost`."""

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """As urllib wants it."""
        return self.do_open(_Local, request)


class Walker:
    """One browser; keeps its cookies as long as it lives. `more` are urllib's handlers, for other kinds of address."""

    def __init__(self, *more: urllib.request.BaseHandler) -> None:
        jar = self.cookies = http.cookiejar.CookieJar()
        # no proxy of the machine's stands between a browser and its own loopback
        handlers = (
            urllib.request.HTTPCookieProcessor(jar),
            _Stay(),
            urllib.request.ProxyHandler({}),
            LocalNames(),
            *more,
        )
        self._opener = urllib.request.build_opener(*handlers)

    def open(self, url: str, form: dict[str, str] | None = None) -> Page:
        """GET a page, or POST a form to it; follows nothing.

        Raises:
            OSError: nobody answers, or not to the end.
        """
        data = urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(url, data, {"Accept": "text/html"})  # noqa: S310  only the lab's addresses
        try:
            with self._answer(request) as response:
                location = response.headers.get("Location")
                text = response.read().decode(errors="replace")
                return Page(url, response.status, urljoin(url, location) if location else None, text)
        except http.client.HTTPException as error:
            raise ConnectionResetError(f"the answer was cut off: {type(error).__name__}") from error

    def _answer(self, request: urllib.request.Request) -> Any:
        try:
            return self._opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            return error

    def follow(self, page: Page) -> Page:
        """Go where a page sends the browser, by a redirect or a form that sends itself, until one sends it nowhere."""
        while True:
            if page.location is not None:
                page = self.open(page.location)
            elif form := _SENDS_ITSELF.search(page.text):
                page = self.submit(page, unescape(form[1]))
            else:
                return page

    def submit(self, page: Page, url: str | None = None, **fields: str) -> Page:
        """Send the page's form, by default to its own address."""
        return self.open(url or page.url, {**page.hidden(), **fields})


def connect(walker: Walker, client_url: str, username: str, password: str) -> Page:
    """Walk the whole flow as a person: press the button, sign in, allow; gives the page with the invoices.

    Raises:
        OSError: nobody answers.
        RuntimeError: a page came that was not expected.
    """
    page = walker.follow(walker.submit(walker.open(f"{client_url}/"), f"{client_url}/connect"))
    if 'id="login-submit"' in page.text:
        page = walker.follow(walker.submit(page, username=username, password=password))
    if 'id="consent-allow"' in page.text:
        page = walker.follow(walker.submit(page, decision="allow"))
    if not page.url.startswith(f"{client_url}/invoices") or page.status != 200:
        title = re.search(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)
        raise RuntimeError(f"{page.url} answered {page.status}: {unescape(title[1]).strip() if title else '?'}")
    return page
