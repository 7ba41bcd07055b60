"""An attack that sends the hostile corpus to the three running services over raw sockets and checks the responses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Final

from rolecall import clock
from rolecall_auth import limits as auth_limits
from rolecall_client import limits as client_limits
from support.fuzz.checks import ResponseChecks, origin
from support.fuzz.connection import TIMEOUT, Connection, Response
from support.fuzz.corpus import twist
from support.fuzz.party import Party, register
from support.fuzz.report import Finding, Report
from support.fuzz.request import Request
from support.fuzz.resources import Resources
from support.fuzz.targets import ROUTES, SERVICES
from support.fuzz.traffic import Traffic
from support.fuzz.visitor import Visitor
from support.stack import Stack

THREADS: Final = 8

MEASUREMENTS: Final = 10
"""How often the memory of the workers is measured."""

MAX_KINDS: Final = 100
"""Kinds of findings after which the attack stops."""

VISIT: Final = 100
"""Requests after which a new visitor arrives, because the twisted requests have ended sessions and tokens."""

RETRIES: Final = 0.01
"""The share of requests that may be sent again because a busy machine was late or refused them as too many."""

WIDE: Final = {
    f"{service}_{row.setting.upper()}": "1000000000/minute"
    for service, rows in (("AUTH_SERVICE", auth_limits.LIMITS), ("CLIENT_WEBAPP", client_limits.LIMITS))
    for row in rows
}
"""Settings for the stack: a throttled request would not reach the code that it is meant for."""

_LOST: Final = (OSError, RuntimeError, AssertionError, LookupError)
"""Errors of a visitor whose flow does not continue as expected."""


class Attack:
    """A number of requests from `threads` threads, each with its own visitor and connections.

    Args:
        only: the numbers of the requests to send, instead of the first `requests`.
        slow: seconds after which a response is too late.
    """

    def __init__(
        self,
        stack: Stack,
        requests: int,
        seed: str,
        say: Callable[[str], object],
        only: Sequence[int] = (),
        threads: int = THREADS,
        slow: float = TIMEOUT,
    ) -> None:
        self._slow = slow
        self._stack = stack
        self._requests = requests
        self._seed = seed
        self._say = say
        self._numbers = iter(only) if only else count()
        self._threads = 1 if only else threads
        self._lock = threading.Lock()
        self._done = 0
        self._urls = {"auth-service": stack.auth, "client-webapp": stack.client, "resource-service": stack.api}
        self._kinds: dict[tuple[str, str], list[list[str]]] = {}
        self._parties: dict[str, Party] = {}
        self.report = Report()
        self._checks = ResponseChecks(stack, clock.now(), slow)
        self._resources = Resources(stack, requests, self.report)

    def run(self) -> Report:
        """Send all requests, and return the report with its findings."""
        self._parties = register(self._stack)
        self._resources.measure_redis()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._threads)]
        for thread in threads:
            thread.start()
        self._watch(threads)
        for thread in threads:
            thread.join()
        self._resources.measure_workers()
        self._resources.measure_redis()
        for finding in self._resources.findings():
            self._add(finding)
        self._check_retries()
        self._check_readiness()
        return self.report

    def _watch(self, threads: list[threading.Thread]) -> None:
        """Measure the workers and print the progress until all threads have ended."""
        began = printed = time.monotonic()
        measured = 0
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            if self._done >= self._requests * (measured + 1) / MEASUREMENTS:
                measured += 1
                self._resources.measure_workers()
            if time.monotonic() - printed > 15:
                printed = time.monotonic()
                speed = self._done / (printed - began)
                self._say(
                    f"{self._done:7} of {self._requests} tried, {speed:.0f} a second, "
                    f"{len(self.report.findings)} findings"
                )

    def _work(self) -> None:
        connections = {name: Connection(url) for name, url in self._urls.items()}
        traffic, left = None, 0
        while sum(map(len, self._kinds.values())) < MAX_KINDS:
            with self._lock:
                number = next(self._numbers, self._requests)
            if number >= self._requests:
                break
            if left == 0:
                traffic, left = self._arrive(number), VISIT
            left -= 1
            for last in (False, True):
                if traffic is None:
                    return
                random = Random(f"{self._seed} {number}")
                service = random.choice(SERVICES)
                host = origin(self._urls[service]).removeprefix("http://")
                try:
                    request = traffic.request(random, service, random.choice(ROUTES[service]), host)
                except _LOST as error:
                    # another visitor's request has ended the session or the tokens of this one
                    self._count_retry(repr(error)[:100])
                    if last:
                        self._add(Finding(number, service, f"cannot prepare the request: {error!r}"))
                    traffic, left = self._arrive(number), VISIT
                else:
                    self._try(number, service, connections[service], twist(random, request))
                    break
        for connection in connections.values():
            connection.close()

    def _arrive(self, number: int) -> Traffic | None:
        for _ in range(3):
            try:
                return Traffic(Visitor.arrive(self._stack, self._parties))
            except _LOST as error:
                reason = repr(error)
                time.sleep(0.5)  # the first visitor may arrive while the revocations are being loaded
        self._add(Finding(number, "all", f"a visitor cannot sign in any more: {reason}"))
        return None

    def _try(self, number: int, service: str, connection: Connection, request: Request) -> None:
        data = request.encoded()
        was_open = connection.is_open
        try:
            responses, seconds, rest = connection.exchange(request, data)
            if not responses and was_open and not request.ends:
                # the server was about to close the connection
                responses, seconds, rest = connection.exchange(request, data)
        except TimeoutError:
            connection.close()
            responses, seconds, rest = [], TIMEOUT, b""
        self._count(number, service, responses, seconds)
        for _ in range(2):
            if not self._checks.is_late(responses, seconds) and all(each.status != 503 for each in responses):
                break
            # a busy machine may be late or refuse once; a fault of the service happens each time
            self._count_retry("late" if seconds > self._slow else "503")
            connection.close()
            try:
                responses, seconds, rest = connection.exchange(request, data)
            except TimeoutError:
                connection.close()
        for fault in self._checks.faults(service, request, responses, seconds, rest):
            received = b"\n".join(b"%d %r %s" % (each.status, each.headers, each.body) for each in responses) or rest
            self._add(Finding(number, service, fault, request.twists, data, received, seconds))

    def _count(self, number: int, service: str, responses: list[Response], seconds: float) -> None:
        with self._lock:
            self._done += 1
            self.report.tried[service] += 1
            self.report.statuses.update(f"{service} {each.status}" for each in responses or [Response(0, [], b"")])
            if seconds > self.report.slowest.get(service, (0.0, 0))[0]:
                self.report.slowest[service] = (seconds, number)

    def _count_retry(self, reason: str) -> None:
        with self._lock:
            self.report.retried[reason] += 1

    def _add(self, finding: Finding) -> None:
        """Add a finding, and print it unless a request with fewer twists has shown the same fault."""
        with self._lock:
            self.report.findings.append(finding)
            kinds = self._kinds.setdefault((finding.service, finding.fault), [])
            is_new = not any(set(known) <= set(finding.twists) for known in kinds)
            if is_new:
                kinds.append(finding.twists)
        if is_new:
            self._say(f"FINDING {finding}")

    def _check_retries(self) -> None:
        if self.report.retried.total() > max(10, RETRIES * self._requests):
            self._add(Finding(self._requests, "all", f"too many retries: {self.report.retried}"))

    def _check_readiness(self) -> None:
        for name, url in self._urls.items():
            status, body = self._stack.get(f"{url}/readyz")
            if status != 200:
                self._add(Finding(self._requests, name, f"not ready afterwards: {body}"))
