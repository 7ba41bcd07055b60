"""Throws the corpus at the three running services over raw sockets, and looks at every answer."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

import psutil
import redis

from rolecall import clock
from rolecall.web.routes import Route
from rolecall_auth.routes import ROUTES as AUTH_ROUTES
from rolecall_client.routes import ROUTES as CLIENT_ROUTES
from rolecall_resource.routes import ROUTES as API_ROUTES
from support.auth_server import LIMITS
from support.fuzz.corpus import EVIL, INJECTED, MARK, Request, twist
from support.fuzz.visitor import Party, Visitor, register
from support.stack import Stack

THREADS: Final = 8
PATIENCE: Final = 32.0
"""Seconds to wait for a response."""

TIMES: Final = 10
"""How often the workers are weighed; from the second time on they may not grow much."""

MOST: Final = 100
"""Kinds of findings after which it is enough."""

GROWTH: Final = 64 * 1024 * 1024
"""Bytes by which a worker may grow, on average, after the first fifth: as much as a password's hash takes."""

IN_REDIS: Final = 4096
"""Bytes by which Redis may grow a request, on average: as much as a sign-in with its flow takes until it expires."""

RECORD: Final = 16 * 1024 * 1024
"""Bytes that the lab's record of what was said takes at most, however much is said."""

VISIT: Final = 100
"""Requests after which somebody new comes: what the twisted ones have ended is there again."""

AGAIN: Final = 0.01
"""The share of requests that may be asked again because they were late or refused as too many, on a busy machine."""

WIDE: Final = {f"AUTH_SERVICE_{name.upper()}": "100000000/minute" for name in LIMITS}
"""Settings for the stack: what is refused by a throttle is looked at by nobody."""

_LINK_ELSEWHERE: Final = re.compile(
    rb"\s(?:href|action|src)=\"?(?://|https?://(?!127\.0\.0\.1|(?:[a-z]+\.)?localhost[:/]))"
)
"""Beside a path, links lead to this machine, by the names that it has for itself."""

_MORE: Final = (
    "/healthz",
    "/readyz",
    "/static/rolecall/rolecall.css",
    "/openapi.json",
    "/_lab/view",
    "/metrics",
)
_VIEW: Final = tuple(Route(path, path, ("GET",), lambda: "", "api", "none: not in the table") for path in _MORE)
ROUTES: Final[dict[str, tuple[Route, ...]]] = {
    "auth-service": (*AUTH_ROUTES, *_VIEW),
    "client-webapp": (*CLIENT_ROUTES, *_VIEW),
    "resource-service": (*API_ROUTES, *_VIEW),
}
_SHARE: Final = ("auth-service",) * 5 + ("client-webapp",) * 3 + ("resource-service",) * 3


@dataclass(frozen=True)
class Finding:
    """What was wrong, and the request that showed it."""

    number: int
    service: str
    what: str
    twists: list[str]
    sent: bytes
    got: bytes
    seconds: float = 0.0

    def __str__(self) -> str:
        twists = ", ".join(self.twists) or "not twisted"
        return (
            f"#{self.number} {self.service}: {self.what} ({twists}; {self.seconds:.2f} s)\n"
            f"  sent {len(self.sent)} bytes: {_short(self.sent)}\n  got {len(self.got)} bytes: {_short(self.got)}"
        )


@dataclass(frozen=True)
class Stored:
    """What Redis holds."""

    keys: int
    lasting: frozenset[bytes]
    of_the_lasting: int
    used: int


@dataclass
class Report:
    """What was tried, and how it went; times in seconds, memory in bytes a worker.

    Args:
        again: what was asked once more, by reason.
        redis: keys, keys that never expire and bytes in Redis, before and afterwards.
    """

    tried: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)
    redis: list[Stored] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Line:
    """One connection that is kept open as long as the other side likes."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._rest = b""

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def exchange(self, request: Request, data: bytes) -> tuple[list[Answer], float, bytes]:
        """The answers, the seconds until the last of them was there, and what came besides."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(data)
            if request.ends:
                self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it did not want to hear it all; perhaps it has answered
        began = time.monotonic()
        seconds = 0.0
        answers: list[Answer] = []
        try:
            while True:
                answer = self._answer(request.method == b"HEAD")
                if answer is None:
                    break
                if answer.status >= 200:
                    answers.append(answer)
                    seconds = time.monotonic() - began
                    if not request.ends:
                        break
        except TimeoutError:
            raise
        except OSError:
            self.close()
        seconds = seconds if answers else time.monotonic() - began
        rest = self._rest
        if request.ends or request.broken or not answers or _closes(answers[-1]) or rest:
            self.close()
        return answers, seconds, rest

    def _answer(self, head: bool) -> Answer | None:
        while b"\r\n\r\n" not in self._rest:
            if not self._more():
                return None
        top, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        if not re.fullmatch(r"HTTP/1\.[01] \d{3} .*", first):
            raise ConnectionError(first)
        headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        status, named = int(first[9:12]), dict(headers)
        if head or status in {204, 304} or status < 200:
            return Answer(status, headers, b"")
        if "content-length" in named:
            length = int(named["content-length"])
            while len(self._rest) < length:
                if not self._more():
                    raise ConnectionError("the body is cut off")
            body, self._rest = self._rest[:length], self._rest[length:]
        else:
            while self._more():
                pass
            body, self._rest = self._rest, b""
        return Answer(status, headers, body)

    def _more(self) -> bool:
        assert self._socket is not None
        data = self._socket.recv(65536)
        self._rest += data
        return bool(data)


class Attack:
    """So many requests from `THREADS` threads, each with its own visitor and connections.

    Args:
        only: the numbers of the requests to send, in the place of the first `requests`.
        threads: how many send at once.
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
        slow: float = PATIENCE,
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
        self._origins = {_origin(url) for url in self._urls.values()} | {"http://127.0.0.1:9", "http://localhost:9000"}
        self._kinds: dict[tuple[str, str], list[list[str]]] = {}
        self._parties: dict[str, Party] = {}
        self._began = clock.now()
        self.report = Report()

    def run(self) -> Report:
        """All of it; findings are in the report."""
        began = time.monotonic()
        self._parties = register(self._stack)
        self._look_into_redis()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._threads)]
        for thread in threads:
            thread.start()
        weighed, told = 0, began
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            if self._done >= self._requests * (weighed + 1) / TIMES:
                weighed += 1
                self._weigh()
            if time.monotonic() - told > 15:
                told = time.monotonic()
                speed = self._done / (told - began)
                self._say(
                    f"{self._done:7} of {self._requests} tried, {speed:.0f} a second, "
                    f"{len(self.report.findings)} findings"
                )
        for thread in threads:
            thread.join()
        self._weigh()
        self._look_at_memory()
        self._look_into_redis()
        self._look_at_growth_of_redis()
        self._look_at_patience()
        self._look_at_readiness()
        return self.report

    def _work(self) -> None:
        lines = {name: Line(_address(url)) for name, url in self._urls.items()}
        visitor, left = None, 0
        while sum(map(len, self._kinds.values())) < MOST:
            with self._lock:
                number = next(self._numbers, self._requests)
            if number >= self._requests:
                break
            if left == 0:
                visitor, left = self._arrive(number), VISIT
            left -= 1
            for last in (False, True):
                if visitor is None:
                    return
                random = Random(f"{self._seed} {number}")
                service = random.choice(_SHARE)
                host = _origin(self._urls[service]).removeprefix("http://")
                try:
                    request = visitor.request(random, service, random.choice(ROUTES[service]), host)
                except _LOST as error:
                    # another visitor's request has ended what this one has begun
                    self._asked_again(repr(error)[:100])
                    if last:
                        self._found(Finding(number, service, f"no way to what it needs: {error!r}", [], b"", b""))
                    visitor, left = self._arrive(number), VISIT
                else:
                    self._try(number, service, lines[service], twist(random, request))
                    break
        for line in lines.values():
            line.close()

    def _arrive(self, number: int) -> Visitor | None:
        for _ in range(3):
            try:
                return Visitor.arrive(self._stack, self._parties)
            except _LOST as error:
                reason = repr(error)
                time.sleep(0.5)  # who comes first may find the revocations being read
        self._found(Finding(number, "all", f"nobody can sign in any more: {reason}", [], b"", b""))
        return None

    def _try(self, number: int, service: str, line: Line, request: Request) -> None:
        data = request.encoded()
        was_open = line.is_open
        try:
            answers, seconds, rest = line.exchange(request, data)
            if not answers and was_open and not request.ends:
                # a connection that the other side was about to close
                answers, seconds, rest = line.exchange(request, data)
        except TimeoutError:
            line.close()
            answers, seconds, rest = [], PATIENCE, b""
        with self._lock:
            self._done += 1
            self.report.tried[service] += 1
            self.report.statuses.update(f"{service} {answer.status}" for answer in answers or [Answer(0, [], b"")])
            if seconds > self.report.slowest.get(service, (0.0, 0))[0]:
                self.report.slowest[service] = (seconds, number)
        for _ in range(2):
            if seconds <= self._slow * max(1, len(answers)) and all(answer.status != 503 for answer in answers):
                break
            # a busy machine is nobody's fault: what is slow or away by itself is so each time
            self._asked_again("late" if seconds > self._slow else "503")
            line.close()
            try:
                answers, seconds, rest = line.exchange(request, data)
            except TimeoutError:
                line.close()
        for what in self._wrong(service, request, answers, seconds, rest):
            got = (
                b"\n".join(b"%d %r %s" % (each.status, each.headers, each.body) for each in answers)
                if answers
                else rest
            )
            self._found(Finding(number, service, what, request.twists, data, got, seconds))

    def _wrong(self, service: str, request: Request, answers: list[Answer], seconds: float, rest: bytes) -> list[str]:
        wrong = []
        if seconds > self._slow * max(1, len(answers)):
            wrong.append("it took too long")
        if not answers and not request.broken and not request.ends:
            wrong.append("no answer")
        if rest and not request.broken:
            wrong.append("more came than one answer")
        if len(answers) > request.copies and not request.broken:
            wrong.append("more answers than requests")
        for answer in answers:
            wrong += self._wrong_with(service, request, answer)
        return wrong

    def _wrong_with(self, service: str, request: Request, answer: Answer) -> list[str]:
        wrong = []
        if request.only and answer.status not in request.only:
            wrong.append(f"status {answer.status} for what is too large")
        if answer.status >= 500 and not _may_be(service, request, answer, self._began):
            wrong.append(f"status {answer.status}")
        top = "\n".join(f"{name}: {value}" for name, value in answer.headers)
        # what a client calls itself it is told again, as JSON
        is_json = dict(answer.headers).get("content-type") == "application/json"
        if (b"<fuzz" in answer.body and not is_json) or "<fuzz" in top:
            wrong.append("reflected unescaped")
        if any(name == INJECTED.lower() for name, _ in answer.headers):
            wrong.append("a header was smuggled in")
        if b"Traceback" in answer.body or b'File "/' in answer.body:
            wrong.append("it shows its code")
        for name, value in answer.headers:
            if name == "location" and not self._may_lead_to(value):
                wrong.append(f"it leads to {value[:100]}")
        if _LINK_ELSEWHERE.search(answer.body):
            wrong.append("a link leads elsewhere")
        if "host" in request.twists and len(request.twists) == 1 and EVIL.encode() in answer.body:
            wrong.append("a forged host is believed")
        return wrong

    def _may_lead_to(self, location: str) -> bool:
        if re.match(r"/(?![/\\])", location):
            return True
        return _origin(location) in self._origins and MARK not in location

    def _found(self, finding: Finding) -> None:
        with self._lock:
            self.report.findings.append(finding)
            kinds = self._kinds.setdefault((finding.service, finding.what), [])
            # what was done here and more besides was done before: the same thing, most probably
            is_new = not any(set(known) <= set(finding.twists) for known in kinds)
            if is_new:
                kinds.append(finding.twists)
        if is_new:
            self._say(f"FINDING {finding}")

    def _weigh(self) -> None:
        for name, pid in self._stack.pids.items():
            workers = psutil.Process(pid).children(recursive=True)
            self.report.memory.setdefault(name, []).append(
                sum(each.memory_info().rss for each in workers) / max(1, len(workers))
            )

    def _look_at_memory(self) -> None:
        for name, weights in self.report.memory.items():
            # the least of three: at any moment some worker may be hashing a password
            early, late = min(weights[1:4], default=0.0), min(weights[-3:])
            if len(weights) > 6 and late - early > GROWTH:
                what = f"a worker grew from {early / 2**20:.0f} to {late / 2**20:.0f} MB"
                self._found(Finding(self._requests, name, what, [], b"", b""))

    def _asked_again(self, why: str) -> None:
        with self._lock:
            self.report.again[why] += 1

    def _look_at_patience(self) -> None:
        again = sum(self.report.again.values())
        if again > max(10, AGAIN * self._requests):
            self._found(Finding(self._requests, "all", f"asked again too often: {self.report.again}", [], b"", b""))

    def _look_into_redis(self) -> None:
        if not self._stack.redis_url:
            return
        with redis.Redis.from_url(self._stack.redis_url) as store:
            lasting = frozenset(key for key in store.scan_iter(count=1000) if store.ttl(key) == -1)
            of_the_lasting = sum(store.memory_usage(key) or 0 for key in lasting)
            used = int(store.info("memory")["used_memory"])
            self.report.redis.append(Stored(store.dbsize(), lasting, of_the_lasting, used))

    def _look_at_growth_of_redis(self) -> None:
        if not self.report.redis:
            return
        before, after = self.report.redis
        wrong = []
        if more := after.lasting - _LASTING:
            wrong.append(f"{len(more)} keys never expire, such as {min(more)!r}")
        if after.of_the_lasting > IN_REDIS:
            wrong.append(f"what never expires takes {after.of_the_lasting} bytes")
        if after.used - before.used > RECORD + IN_REDIS * self._requests:
            wrong.append(f"it grew from {before.used} to {after.used} bytes")
        for what in wrong:
            self._found(Finding(self._requests, "redis", what, [], b"", b""))

    def _look_at_readiness(self) -> None:
        for name, url in self._urls.items():
            status, body = self._stack.get(f"{url}/readyz")
            if status != 200:
                self._found(Finding(self._requests, name, f"not ready afterwards: {body}", [], b"", b""))


def _may_be(service: str, request: Request, answer: Answer, began: float) -> bool:
    """The answers above 500 that are right.

    Args:
        began: seconds; when the attack did, for which Redis was started.
    """
    if answer.status == 501:
        return b"ransfer-" in (request.framing or b"")  # RFC 9112 section 6.1
    if answer.status == 505:
        return request.version == b"HTTP/2.0"  # nginx; RFC 9110 section 15.6.6
    if answer.status == 503:
        if b"record of used identifiers may have been lost" in answer.body:
            return not _is_made_since(began, request)
        return b"Too many people are signing in" in answer.body
    # what another service refused, Tally reports as such
    return (
        service == "client-webapp"
        and answer.status == 502
        and (any(each in answer.body for each in _REPORTED) or request.method == b"HEAD")
    )


def _is_made_since(began: float, request: Request) -> bool:
    """Whether the assertion by which a client authenticates says that it was made after this time."""
    assertion = dict(request.pairs).get(b"client_assertion", b"").split(b".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(assertion[1] + b"=="))
        return any(float(claims[name]) >= began for name in ("iat", "nbf") if name in claims)
    except (ValueError, TypeError, LookupError):
        return False


_LOST: Final = (OSError, RuntimeError, AssertionError, LookupError)
"""What comes when a visitor is not led where people are."""

_LASTING: Final = frozenset({b"auth:replays-since", b"auth:revoked-run-id"})
"""Keys of a few bytes that say since when Redis remembers."""

_REPORTED: Final = (
    b"The authorization server returned an error",
    b"This is not the expected authorization server",
    b'<span class="tag no">',
)
"""On Tally's pages about an answer that it could not use: an error, another `iss`, a refusal of the API's."""


def _closes(answer: Answer) -> bool:
    return dict(answer.headers).get("connection", "").lower() == "close"


def _origin(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc}"


def _address(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rpartition(":")[2])


def _short(data: bytes) -> str:
    text = repr(data)[2:-1]
    return text if len(text) <= 1500 else f"{text[:1200]} ... {text[-300:]}"
