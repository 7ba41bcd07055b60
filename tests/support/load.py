"""People who keep working during a fault: their requests, the refusals, and any lost data."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from rolecall import clock
from support.stack import Stack

if TYPE_CHECKING:
    from support.people import KeyWatcher, Person

PATIENCE = 45.0
"""Seconds within which every person must be served again."""


@dataclass
class Figures:
    """Counts of requests, and two lists that must stay empty: unexpected responses, and data lost or used twice."""

    sent: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """A response, or the end of a connection, which has status 0 and the name of the error as its text."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    location: str | None = None

    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.text)
        return value

    @property
    def is_refusal(self) -> bool:
        """Return whether it is a temporary error with a time or a hint to try again (RFC 6749 section 4.1.2.1).

        On a page of Tally about a refusal by the API, the text for the person counts.
        """
        if self.location is not None:
            told = parse_qs(urlsplit(self.location).query)
            return told.get("error") == ["temporarily_unavailable"] and {"state", "iss"} <= told.keys()
        if self.status == 503 and '<span class="tag no">503 refused' in self.text:
            return True
        if self.status != 503 or not self.headers.get("Retry-After", "").isdigit():
            return False
        if self.text.startswith("{"):
            return bool(self.json()["error"] == "temporarily_unavailable" and self.json()["error_description"])
        return re.search("Try again|Start again", self.text) is not None


class NotNow(Exception):
    """A request was refused; the person starts again after a pause."""


class Load:
    """People who work during `with load`; they keep their tokens and sessions between several such blocks.

    Args:
        people: creates them, first the watcher of the keys (`keys`).
    """

    def __init__(self, stack: Stack, people: Callable[[Load], list[Person]]) -> None:
        self.stack = stack
        self.figures = Figures()
        self.also: frozenset[tuple[str, int]] = frozenset()
        self.forgets = False
        self._parties = {stack.auth: "server", stack.api: "API", stack.client: "Tally"}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._tell_the_time()
        self.keys: KeyWatcher
        self.people = people(self)

    def under(self, *, also: Collection[tuple[str, int]] = (), forgets: bool = False) -> Load:
        """Set the effects of a fault that are accepted in the next block.

        Args:
            also: pairs of a party and a status that also count as refused, because the fault justifies them.
            forgets: codes, sessions, and unfinished flows may be lost, as from an emptied Redis.
        """
        self.also, self.forgets = frozenset(also), forgets
        return self

    def __enter__(self) -> Load:
        self._tell_the_time()
        # the clock may have been turned back, so only the current keys count
        for person in self.people if self.figures.lost else [self.keys]:
            person.begin()
        self.figures = Figures()
        self._stop.clear()
        self._threads = [threading.Thread(target=self._work, args=(person,)) for person in self.people]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for_everybody(self) -> float:
        """Wait until each person has completed a turn that began after this call; return the seconds that it took."""
        began = time.monotonic()
        while late := [person for person in self.people if person.good_since < began]:
            if time.monotonic() > began + PATIENCE:
                raise AssertionError(
                    f"not served any more: {[type(person).__name__ for person in late]}; {self.figures}"
                )
            time.sleep(0.02)
        return time.monotonic() - began

    def turn_the_clock(self, seconds: float) -> None:
        """Turn the lab's clock while no request is running, because the processes do not receive it simultaneously."""
        with self._still():
            self.stack.call("PUT", f"{self.stack.auth}/_lab/clock", json.dumps({"advance": seconds}).encode())
            self._tell_the_time()

    def look_back(self) -> None:
        """Check that no ended token is active again, and that no code is accepted twice."""
        for person in self.people:
            try:
                person.look_back()
            except NotNow as refused:
                raise AssertionError(f"{type(person).__name__}: {refused}; {self.figures}") from refused

    def count(self, what: str, right: Collection[int], answered: Callable[[], Answer]) -> Answer:
        """Count a request, and return its response if its status is one of `right`.

        Args:
            what: method and URL.

        Raises:
            NotNow: the request was refused, or got an unexpected response, which is recorded.
        """
        began = time.monotonic()
        try:
            answer = answered()
        except OSError as error:
            answer = Answer(0, type(error).__name__)
        party = next(name for url, name in self._parties.items() if url in what)
        is_refusal = answer.is_refusal or (answer.status not in right and (party, answer.status) in self.also)
        with self._lock:
            self.figures.sent += 1
            self.figures.slowest = max(self.figures.slowest, time.monotonic() - began)
            self.figures.refused[party] += is_refusal
        if is_refusal:
            raise NotNow(f"{what}: {answer.status}")
        if answer.status not in right:
            raise self.strange(f"{what}: {answer.status} {answer.location or ''} {answer.text[:300]}")
        return answer

    def strange(self, what: str) -> NotNow:
        """Record an unexpected response."""
        with self._lock:
            self.figures.unexpected.append(what)
        return NotNow(what)

    def lose(self, what: str) -> NotNow:
        """Record that something was lost or used twice, and stop all people."""
        with self._lock:
            self.figures.lost.append(what)
        self._stop.set()
        return NotNow(what)

    def pause(self, seconds: float) -> None:
        """Wait for this many seconds, or until the end of the load."""
        self._stop.wait(seconds)

    def _tell_the_time(self) -> None:
        clock.set_offset(self.stack.get(f"{self.stack.auth}/_lab/clock")[1]["offset"])

    @contextmanager
    def _still(self) -> Iterator[None]:
        with ExitStack() as held:
            for person in self.people:
                held.enter_context(person.at_rest)
            yield

    def _work(self, person: Person) -> None:
        while not self._stop.is_set():
            with person.at_rest:
                began = time.monotonic()
                try:
                    person.turn()
                    person.good_since = began
                except NotNow:
                    pass
                except Exception as error:  # a dead thread would look like an unavailable service
                    self.strange(f"{type(person).__name__}: {error!r}")
            self.pause(0.05)
