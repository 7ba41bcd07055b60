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
from typing import Any, Final

import psutil

from auth_service.parameters import BY_ENDPOINT
from auth_service.routes import ROUTES as AUTH_ROUTES
from client_webapp.routes import ROUTES as CLIENT_ROUTES
from fuzz import metadata
from fuzz.corpus import EVIL, FORM, INJECTED, MARK, Request, twist
from pages import tokens_of_a_native_client
from resource_service.routes import ROUTES as API_ROUTES
from rolecall.web import Route
from rolecall_lab.environment import LAB_ENV, read_env
from rolecall_lab.walker import Walker, connect
from stack import Stack

THREADS: Final = 8
SLOW: Final = 2.0
"""Seconds after which an answer is too late."""

PATIENCE: Final = 8.0
"""Seconds after which no answer is waited for."""

TIMES: Final = 10
"""How often the workers are weighed; from the second time on they may not grow much."""

MOST: Final = 100
"""Kinds of findings after which it is enough."""

GROWTH: Final = 64 * 1024 * 1024
"""Bytes by which a worker may grow, on average, after the first fifth: as much as a password's hash takes."""

WIDE: Final = {
    f"AUTH_SERVICE_{name}": "100000000/minute"
    for name in (
        "SIGN_IN_LIMIT",
        "SIGN_IN_ADDRESS_LIMIT",
        "SIGN_UP_LIMIT",
        "AUTHORIZATION_LIMIT",
        "CLIENT_LIMIT",
        "REGISTRATION_LIMIT",
    )
}
"""Settings for the stack: what is refused by a throttle is looked at by nobody."""

_MORE: Final = (
    "/healthz",
    "/readyz",
    "/static/rolecall/rolecall.css",
    "/openapi.json",
    "/docs",
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


@dataclass
class Report:
    """What was tried, and how it went; times in seconds, memory in bytes a worker."""

    tried: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Visitor:
    """Somebody with a session at each service and with tokens, who is believed until he begins to twist."""

    known: dict[str, bytes]
    cookies: dict[str, bytes]
    authorizations: dict[str, bytes]

    @classmethod
    def arrive(cls, stack: Stack) -> Visitor:
        """Sign in, allow, fetch tokens."""
        secrets = read_env(LAB_ENV)
        walker = Walker()
        connect(walker, stack.client, "alice", "wonderland-lab")
        tokens = tokens_of_a_native_client(stack)
        jar = {cookie.name: cookie.value or "" for cookie in walker.cookies}
        asked = walker.open(
            f"{stack.auth}/authorize?response_type=code&client_id=tally-desktop&scope=invoices:read&state=abc&code_challenge="
            + "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&redirect_uri=http://127.0.0.1:9/callback"
        )
        interaction = (asked.location or "").rpartition("=")[2]
        json_type = {"Content-Type": "application/json"}
        _, client = stack.call("POST", f"{stack.auth}/register", json.dumps(metadata.GOOD).encode(), **json_type)
        known = {
            "response_type": "code",
            "client_id": "tally-desktop",
            "redirect_uri": "http://127.0.0.1:9/callback",
            "scope": "invoices:read",
            "state": "a-state",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
            "resource": stack.api,
            "interaction": interaction,
            "grant_type": "refresh_token",
            "code": "c" * 43,
            "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "refresh_token": tokens["refresh_token"],
            "token": tokens["access_token"],
            "token_type_hint": "access_token",
            "username": "alice",
            "password": "wonderland-lab",
            "decision": "allow",
            "iss": stack.auth,
            "error": "access_denied",
            "check": "both",
            "csrf auth-service": walker.open(f"{stack.auth}/sign-out").hidden().get("csrf_token", ""),
            "registration": client["client_id"],
            "csrf client-webapp": walker.open(f"{stack.client}/").hidden().get("csrf_token", ""),
        }
        return cls(
            {name: urllib.parse.quote_plus(value).encode() for name, value in known.items()},
            {
                "auth-service": _cookies(jar, "rolecall_auth"),
                "client-webapp": _cookies(jar, "rolecall_client"),
            },
            {
                "token": _basic("tally", secrets["CLIENT_WEBAPP_CLIENT_SECRET"]),
                "introspect": _basic("invoices-api", secrets["RESOURCE_SERVICE_RESOURCE_SECRET"]),
                "resource-service": b"Bearer " + tokens["access_token"].encode(),
                "registration": b"Bearer " + client["registration_access_token"].encode(),
            },
        )

    def request(self, random: Random, service: str, route: Route, host: str) -> Request:
        """What the route is usually sent."""
        method = random.choice(route.methods)
        registration = self.known["registration"].decode()
        name = registration if route.name == "registration" else f"INV-{random.randrange(99)}"
        path = re.sub(r"<[^>]*>", lambda _: name, route.path)
        request = Request(method.encode(), path.encode(), [(b"Host", host.encode())])
        if random.random() < 0.7:
            request.put(b"Accept", b"text/html" if route.kind == "page" else b"application/json")
        if service in self.cookies and random.random() < 0.8:
            request.put(b"Cookie", self.cookies[service])
        names = [parameter.name for parameter in BY_ENDPOINT.get(route.name, ())] if service == "auth-service" else []
        names += _FIELDS.get((service, route.name), ())
        request.pairs = [(name.encode(), self.known[name]) for name in names if name in self.known]
        if service == "resource-service":
            request.put(b"Authorization", self.authorizations["resource-service"])
        elif route.name == "introspect" or (route.name in {"token", "revoke"} and random.random() < 0.4):
            request.put(b"Authorization", self.authorizations["introspect" if route.name == "introspect" else "token"])
            request.pairs = [each for each in request.pairs if each[0] != b"client_id"]
        if route.name == "token" and random.random() < 0.4:
            request.pairs = [
                (name, b"authorization_code" if name == b"grant_type" else value) for name, value in request.pairs
            ]
        if route.name in {"register", "registration"}:
            request.put(b"Content-Type", b"application/json")
            if method in {"POST", "PUT"}:
                request.body = metadata.hostile(random)
            if route.name == "registration":
                # deleted it would be there for nobody any more
                own = self.authorizations["registration"]
                request.put(b"Authorization", own + b"x" if method == "DELETE" else own)
            return request
        if route.kind == "page" and method == "POST":
            request.pairs.append((b"csrf_token", self.known.get(f"csrf {service}", b"")))
        if method == "POST":
            request.put(b"Content-Type", FORM)
            if route.kind == "page" and "interaction" in names and random.random() < 0.7:
                request.path += b"?interaction=" + self.known["interaction"]
                # the form itself goes into the body all the same
                request.body = b"&".join(name + b"=" + value for name, value in request.pairs)
                request.pairs = []
        return request


_FIELDS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("auth-service", "sign-in"): ("username", "password"),
    ("auth-service", "sign-up"): ("username", "password"),
    ("auth-service", "consent"): ("decision",),
    ("auth-service", "disconnect"): ("client_id",),
    ("client-webapp", "callback"): ("code", "state", "iss"),
    ("client-webapp", "invoices"): ("check",),
    ("client-webapp", "refresh"): ("check",),
}


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
        """The answers, the seconds that they took, and what came besides."""
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
        answers: list[Answer] = []
        try:
            while True:
                answer = self._answer(request.method == b"HEAD")
                if answer is None:
                    break
                if answer.status >= 200:
                    answers.append(answer)
                    if not request.ends:
                        break
        except TimeoutError:
            raise
        except OSError:
            self.close()
        seconds = time.monotonic() - began
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
    """

    def __init__(
        self, stack: Stack, requests: int, seed: str, say: Callable[[str], object], only: Sequence[int] = ()
    ) -> None:
        self._stack = stack
        self._requests = requests
        self._seed = seed
        self._say = say
        self._numbers = iter(only) if only else count()
        self._only = bool(only)
        self._lock = threading.Lock()
        self._done = 0
        self._urls = {"auth-service": stack.auth, "client-webapp": stack.client, "resource-service": stack.api}
        self._origins = {_origin(url) for url in self._urls.values()} | {"http://127.0.0.1:9", "http://localhost:9000"}
        self._kinds: dict[tuple[str, str], list[list[str]]] = {}
        self.report = Report()

    def run(self) -> Report:
        """All of it; findings are in the report."""
        began = time.monotonic()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(1 if self._only else THREADS)]
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
            if visitor is None or left == 0:
                visitor, left = self._arrive(number), 400
                if visitor is None:
                    break
            left -= 1
            random = Random(f"{self._seed} {number}")
            service = random.choice(_SHARE)
            host = _origin(self._urls[service]).removeprefix("http://")
            request = visitor.request(random, service, random.choice(ROUTES[service]), host)
            self._try(number, service, lines[service], twist(random, request))
        for line in lines.values():
            line.close()

    def _arrive(self, number: int) -> Visitor | None:
        for _ in range(3):
            try:
                return Visitor.arrive(self._stack)
            except (OSError, RuntimeError, AssertionError) as error:
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
            if seconds <= SLOW * max(1, len(answers)) and all(answer.status != 503 for answer in answers):
                break
            # a busy machine is nobody's fault: what is slow or away by itself is so each time
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
        if seconds > SLOW * max(1, len(answers)):
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
        if answer.status >= 500 and not _may_be(service, request, answer):
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
        if re.search(rb"\s(?:href|action|src)=\"?(?://|https?://(?!127\.0\.0\.1|localhost))", answer.body):
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

    def _look_at_readiness(self) -> None:
        for name, url in self._urls.items():
            status, body = self._stack.get(f"{url}/readyz")
            if status != 200:
                self._found(Finding(self._requests, name, f"not ready afterwards: {body}", [], b"", b""))


def _may_be(service: str, request: Request, answer: Answer) -> bool:
    """The answers above 500 that are right."""
    if answer.status == 501:
        return b"ransfer-" in (request.framing or b"")  # RFC 9112 section 6.1
    if answer.status == 503:
        return b"Very many people sign in" in answer.body
    # what another service refused, Tally reports as such
    return service == "client-webapp" and answer.status == 502


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


def _basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def _cookies(jar: dict[str, Any], prefix: str) -> bytes:
    return "; ".join(f"{name}={value}" for name, value in jar.items() if name.startswith(prefix)).encode()


def _short(data: bytes) -> str:
    text = repr(data)[2:-1]
    return text if len(text) <= 1500 else f"{text[:1200]} ... {text[-300:]}"
