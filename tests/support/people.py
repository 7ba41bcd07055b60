"""The people of a load: they refresh tokens, allow and revoke access, use Tally, and watch the keys."""

from __future__ import annotations

import http.client
import math
import re
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from urllib.request import Request

import jwt

from rolecall import clock
from rolecall_lab.walker import Page, Walker
from support.load import Answer, Load, NotNow
from support.tally_pages import NATIVE_REDIRECT_URI, native_redemption, native_request

WAYS = ("jwt", "introspection")
ALICE, BOB = ("alice", "wonderland-lab"), ("bob", "builder-lab")

MARGIN = 150.0
"""Seconds until its expiry that a token needs to be sent again: more than the error of any clock in these tests."""

KEPT = 8
"""The number of ended tokens, and of used codes, that are tried again."""


class Browser(Walker):
    """A browser whose requests are counted; it signs in and allows access wherever a page asks for it."""

    def __init__(self, load: Load, who: tuple[str, str] = ALICE) -> None:
        super().__init__()
        self._load = load
        self._who = dict(zip(("username", "password"), who, strict=True))

    def open(self, url: str, form: dict[str, str] | None = None) -> Page:
        """Open a URL as `Walker` does.

        Raises:
            NotNow: the request was refused.
        """
        data = urlencode(form).encode() if form is not None else None
        answer = self.send(Request(url, data, {"Accept": "text/html"}), {200, 302, 303, 400, 403})
        return Page(url, answer.status, answer.location, answer.text)

    def send(self, request: Request, right: Collection[int]) -> Answer:
        """Send a request, and return its response if its status is one of `right`.

        Raises:
            NotNow: the request was refused.
        """

        def answered() -> Answer:
            try:
                with self._response(request) as answer:
                    location = answer.headers.get("Location")
                    text = answer.read().decode()
                    here = request.full_url
                    return Answer(answer.status, text, answer.headers, urljoin(here, location) if location else None)
            except http.client.HTTPException as error:
                raise ConnectionResetError(type(error).__name__) from error

        return self._load.count(f"{request.get_method()} {request.full_url}", right, answered)

    def walk(self, page: Page) -> Page:
        """Continue to the first page without a question, or to the redirect to the native application."""
        for _ in range(12):
            if page.location is not None:
                if page.location.startswith(NATIVE_REDIRECT_URI):
                    break
                page = self.open(page.location)
            elif 'id="login-submit"' in page.text:
                page = self.submit(page, **self._who)
            elif 'id="consent-allow"' in page.text:
                page = self.submit(page, decision="allow")
            else:
                break
        return page


class Person:
    """A person who repeats a turn; `good_since` is the monotonic time at which the last complete turn began."""

    def __init__(self, load: Load, who: tuple[str, str] = ALICE) -> None:
        self.load = load
        self.stack = load.stack
        self.who = who
        self.at_rest = threading.Lock()
        self.good_since = -math.inf
        self.program = Browser(load)
        self.begin()

    def begin(self) -> None:
        """Discard all tokens and sessions, and get new ones as needed."""
        self.browser = Browser(self.load, self.who)

    def turn(self) -> None:
        """Do everything once.

        Raises:
            NotNow: a request was refused.
        """
        raise NotImplementedError

    def look_back(self) -> None:
        """Check that ended tokens and used codes are still rejected."""

    def code(self) -> str:
        """Allow a native application access; return its code."""
        page = self.browser.walk(self.browser.open(native_request(self.stack)))
        code = parse_qs(urlsplit(page.location or "").query).get("code")
        if code is None:
            raise self.gone(page)
        return code[0]

    def post(self, path: str, form: dict[str, str], right: Collection[int] = (200,)) -> Answer:
        """Send a form of the native application to the authorization server."""
        return self.program.send(Request(f"{self.stack.auth}{path}", urlencode(form).encode()), right)

    def tokens(self, form: dict[str, str]) -> dict[str, Any] | None:
        """Return the token response, or None if the token endpoint rejects the grant."""
        answer = self.post("/token", form, {200, 400})
        if answer.status == 400:
            return None
        self.load.keys.see(answer.json()["access_token"])
        return answer.json()

    def ask(self, token: str, how: str, right: Collection[int] = (200,)) -> None:
        """Send a request to the API."""
        headers = {"Authorization": f"Bearer {token}", "Rolecall-Validator": how}
        self.program.send(Request(f"{self.stack.api}/invoices", None, headers), right)

    def gone(self, page: Page) -> NotNow:
        """Return the error to raise for a page that ends the flow; flows may end if Redis may lose data."""
        title = re.search(r"<h1[^>]*>\s*(.*?)\s*</h1>", page.text, re.DOTALL)
        what = f"{page.url}: {page.status} {title[1] if title else page.location}"
        return NotNow(what) if self.load.forgets else self.load.lose(what)


class Refresher(Person):
    """A person who refreshes one authorization, and sends the new and the previous access token to the API."""

    def begin(self) -> None:
        super().begin()
        tokens = self.tokens(native_redemption(self.code()))
        assert tokens is not None
        self._refresh, self._token = tokens["refresh_token"], tokens["access_token"]

    def turn(self) -> None:
        form = {"grant_type": "refresh_token", "client_id": "tally-desktop", "refresh_token": self._refresh}
        tokens = self.tokens(form)
        if tokens is None:
            raise self.load.lose("an authorization")
        before, self._refresh, self._token = self._token, tokens["refresh_token"], tokens["access_token"]
        for how in WAYS:
            self.ask(self._token, how)
        if claims(before)["exp"] > clock.now() + MARGIN:
            for how in WAYS:
                self.ask(before, how)


class Allower(Person):
    """A person who allows access in each turn, redeems every other code twice, and revokes the tokens of the rest."""

    def begin(self) -> None:
        super().begin()
        self._turns = 0
        self._codes: list[str] = []
        self._ended: list[str] = []

    def turn(self) -> None:
        self._turns += 1
        code = self.code()
        if self._turns % 2:
            self._redeem_twice(code)
        else:
            self._revoke(code)

    def look_back(self) -> None:
        for token in self._ended[-KEPT:]:
            self._is_refused(token)
        for code in self._codes[-KEPT:]:
            if self.tokens(native_redemption(code)):
                raise self.load.lose("a code was good twice")

    def _redeem_twice(self, code: str) -> None:
        """RFC 6749 section 4.1.2: at most one request gets tokens, which are revoked because the code was replayed."""
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(self.tokens, native_redemption(code)) for _ in range(2)]
        errors = [each.exception() for each in asked]
        got = [tokens for each, error in zip(asked, errors, strict=True) if not error and (tokens := each.result())]
        if len(got) > 1:
            raise self.load.lose("a code was good twice")
        if error := next(filter(None, errors), None):
            raise error
        self._codes.append(code)
        for tokens in got:
            self._end(tokens["access_token"])

    def _revoke(self, code: str) -> None:
        tokens = self.tokens(native_redemption(code))
        if tokens is None:
            if self.load.forgets:
                raise NotNow("a code was forgotten")
            raise self.load.lose("a code")
        self._codes.append(code)
        for how in WAYS:
            self.ask(tokens["access_token"], how)
        self.post("/revoke", {"client_id": "tally-desktop", "token": tokens["access_token"]})
        self._end(tokens["access_token"])

    def _end(self, token: str) -> None:
        self._ended.append(token)
        self._is_refused(token)

    def _is_refused(self, token: str) -> None:
        """Check that introspection rejects the token, whose signature stays valid until it expires."""
        headers = {"Authorization": f"Bearer {token}", "Rolecall-Validator": "introspection"}
        answer = self.program.send(Request(f"{self.stack.api}/invoices", None, headers), {200, 401})
        if answer.status == 200:
            raise self.load.lose("a revocation")


class AtTally(Person):
    """A person who refreshes at Tally, opens the invoices with both validators, and signs in with an ID token."""

    def begin(self) -> None:
        super().begin()
        self._connect()
        self._page = self._expect("/me", self.browser.open(f"{self.stack.client}/"), "/sign-in")

    def turn(self) -> None:
        page = self.browser.submit(self._page, f"{self.stack.client}/refresh", check="jwt")
        if page.status == 403 and self.load.forgets:
            self._connect()
        elif page.status != 303:
            raise self.gone(page)
        for how in WAYS:
            page = self.browser.open(f"{self.stack.client}/invoices?check={how}")
            if page.status != 200:
                raise self.gone(page)
        self._page = self._expect("/me", self._page, "/sign-in", again="")

    def _connect(self) -> None:
        self._expect("/invoices", self.browser.open(f"{self.stack.client}/"), "/connect")

    def _expect(self, end: str, page: Page, button: str, **fields: str) -> Page:
        """Press a button, and continue to the page at which the flow must end."""
        page = self.browser.walk(self.browser.submit(page, f"{self.stack.client}{button}", **fields))
        if page.url != f"{self.stack.client}{end}" or page.status != 200:
            raise self.gone(page)
        return page


class KeyWatcher(Person):
    """A watcher of the key set: every cache must have a key before the key signs, and until its tokens expire."""

    def begin(self) -> None:
        super().begin()
        self.published: frozenset[str] = frozenset()
        self.signed: set[str] = set()
        self._missing: dict[str, float] = {}
        self._needed: dict[str, float] = {}
        self._fetched = -math.inf
        self._watch = threading.Lock()
        self.turn()

    def turn(self) -> None:
        now = clock.now()
        answer = self.program.send(Request(f"{self.stack.auth}/jwks"), {200})
        found = re.search(r"max-age=(\d+)", answer.headers["Cache-Control"])
        assert found
        with self._watch:
            self._max_age = int(found[1])
            self.published = frozenset(key["kid"] for key in answer.json()["keys"])
            for kid in self.published - self._missing.keys():
                self._missing[kid] = self._fetched
            for kid in self._missing.keys() - self.published:
                self._missing[kid] = now
                if self._needed.get(kid, -math.inf) > now:
                    self.load.strange(f"key {kid} is gone before the tokens that it signed")
            self._fetched = now
        time.sleep(0.05)

    def see(self, token: str) -> None:
        """Check that every key set that may still be cached has the key of a new token (RFC 9068 section 4)."""
        kid, told = jwt.get_unverified_header(token)["kid"], claims(token)
        with self._watch:
            if self._missing.get(kid, math.inf) > told["iat"] - self._max_age:
                self.load.strange(f"key {kid} signs before every cache of the key set has it")
            self.signed.add(kid)
            self._needed[kid] = max(self._needed.get(kid, 0.0), told["exp"])


def claims(token: str) -> dict[str, Any]:
    """Return the claims of a token without verification."""
    return jwt.decode(token, options={"verify_signature": False})


def six(load: Load) -> list[Person]:
    """Return a watcher of the keys and five other people."""
    load.keys = KeyWatcher(load)
    others = (Refresher(load, ALICE), Refresher(load, BOB), Allower(load, ALICE), Allower(load, BOB))
    return [load.keys, *others, AtTally(load, BOB)]
