"""People who work on while something breaks: what they send, what is refused, and whether anything is lost."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pages import tokens_of_a_native_client
from stack import Stack

UNAVAILABLE = {502, 503, 504}
"""What may be answered while something is broken."""


@dataclass
class Figures:
    """Counts of requests, and what must be empty: answers that nobody should get, and authorizations that were lost."""

    sent: int = 0
    answered: int = 0
    refused: int = 0
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


class Load:
    """Several people, each with an authorization of their own, who refresh their tokens and ask the API."""

    def __init__(self, stack: Stack, people: int = 6) -> None:
        self.stack = stack
        self.figures = Figures()
        self._refresh = [tokens_of_a_native_client(stack)["refresh_token"] for _ in range(people)]
        self._turns = [0] * people
        self._at_rest = [threading.Lock() for _ in range(people)]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(people)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for(self, number: int, seconds: float = 30.0) -> float:
        """Until so many more requests were answered well; gives the seconds that it took."""
        began, before = time.monotonic(), self.figures.answered
        while self.figures.answered < before + number:
            if time.monotonic() > began + seconds:
                raise AssertionError(f"nobody is served any more: {self.figures}")
            time.sleep(0.02)
        return time.monotonic() - began

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nobody's requests are under way: the lab's clock reaches one process a moment before another."""
        with ExitStack() as held:
            for lock in self._at_rest:
                held.enter_context(lock)
            yield

    def wait_for_new_tokens(self, seconds: float = 30.0) -> None:
        """Until every person has begun anew with a token that they did not have when this was called."""
        began, before = time.monotonic(), [*self._turns]
        while any(now < then + 2 for now, then in zip(self._turns, before, strict=True)):
            if time.monotonic() > began + seconds:
                raise AssertionError(f"somebody is not served any more: {self.figures}")
            time.sleep(0.02)

    def all_go_on(self) -> None:
        """Every person's refresh token still works, and gives a token that both ways of checking accept."""
        for number in range(len(self._refresh)):
            token = self._turn(number)
            assert token, f"person {number} cannot go on: {self.figures}"
            for how in ("jwt", "introspection"):
                assert self._ask(token, how) == 200

    def _work(self, number: int) -> None:
        while not self._stop.is_set():
            with self._at_rest[number]:
                self._one_turn(number)

    def _one_turn(self, number: int) -> None:
        self._turns[number] += 1
        if token := self._turn(number):
            for how in ("jwt", "introspection"):
                self._ask(token, how)
        else:
            self._stop.wait(0.1)

    def _turn(self, number: int) -> str | None:
        """A new access token for the refresh token, which is replaced; None when that is refused for now."""
        form = {"grant_type": "refresh_token", "client_id": "tally-desktop", "refresh_token": self._refresh[number]}
        status, answer = self._send("POST", f"{self.stack.auth}/token", urllib.parse.urlencode(form).encode())
        if status == 200:
            self._refresh[number] = answer["refresh_token"]
            return str(answer["access_token"])
        if status == 400:
            with self._lock:
                self.figures.lost.append(f"person {number}: {answer}")
            self._stop.set()
        return None

    def _ask(self, token: str, how: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Rolecall-Validator": how}
        return self._send("GET", f"{self.stack.api}/invoices", None, **headers)[0]

    def _send(self, method: str, url: str, body: bytes | None, **headers: str) -> tuple[int, dict[str, Any]]:
        began = time.monotonic()
        try:
            status, answer = self.stack.call(method, url, body, **headers)
        except (OSError, urllib.error.URLError, ValueError) as error:  # a connection that was cut
            status, answer = 0, {"error": type(error).__name__}
        with self._lock:
            figures = self.figures
            figures.sent += 1
            figures.slowest = max(figures.slowest, time.monotonic() - began)
            if status == 200:
                figures.answered += 1
            elif status in UNAVAILABLE or status == 0:
                figures.refused += 1
            elif status != 400:
                figures.unexpected.append(f"{method} {url} {headers.get('Rolecall-Validator', '')}: {status} {answer}")
        return status, answer
