"""A hostile request before it is encoded, and the hostile values that go into it.

Everything is drawn from one random source, so a number and a seed give the same request again. `MARK` shows what is
reflected without escaping, `EVIL` shows that a forged host was trusted, and `INJECTED` is a smuggled header.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final
from urllib.parse import quote, quote_plus

MARK: Final = "\"'><fuzz>"
EVIL: Final = "evil.fuzz"
INJECTED: Final = "X-Injected"

MEGABYTE: Final = 1024 * 1024
FORM: Final = b"application/x-www-form-urlencoded"


@dataclass
class Request:
    """A request before it is encoded.

    Args:
        pairs: the parameters, already percent-encoded; they go into the body of a POST, otherwise into the query.
        ends: the connection cannot be used afterwards: half-close it, and read to the end.
        broken: the message is not valid HTTP, so closing the connection is an acceptable response.
        twists: the names of the changes made.
        only: the acceptable statuses if this is the only change; empty for any status.
    """

    method: bytes
    path: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes | None = None
    version: bytes = b"HTTP/1.1"
    newline: bytes = b"\r\n"
    framing: bytes | None = None
    copies: int = 1
    ends: bool = False
    broken: bool = False
    twists: list[str] = field(default_factory=list)
    only: frozenset[int] = frozenset()

    def put(self, name: bytes, value: bytes) -> None:
        """Set a header; replaces all headers of the same name."""
        self.headers = [each for each in self.headers if each[0].lower() != name.lower()]
        self.headers.append((name, value))

    def encoded(self) -> bytes:
        """Return the bytes to send."""
        pairs = b"&".join(name + b"=" + value for name, value in self.pairs)
        in_body = self.method == b"POST" and b"?" not in self.path
        path = self.path
        body = self.body
        if body is None:
            body = pairs if in_body else b""
        if pairs and not in_body:
            path += (b"&" if b"?" in path else b"?") + pairs
        lines = [b" ".join(part for part in (self.method, path, self.version) if part)]
        lines += [name + b": " + value if name else value for name, value in self.headers]
        if self.framing is not None:
            lines += [self.framing] if self.framing else []
        elif body or self.method == b"POST":
            lines.append(b"Content-Length: %d" % len(body))
        return (self.newline.join(lines) + self.newline * 2 + body) * self.copies


Twist = Callable[[Random, Request], None]
"""Changes a request in one hostile way."""

TEXTS: Final = (
    "", " ", "\0", "a\0b", "\r\n", f"a\r\n{INJECTED}: 1", f"\r\n\r\n{MARK}", MARK, f"javascript:{MARK}", "é", "ß" * 50,
    "\u202eabc", "\ufeff", "\u2028", "\ufffe", "\U0001f600" * 20, "\U000e0041", "\U0010ffff", "ﷺ" * 500,
    "\u0301" * 2000,
    "../../etc/passwd", "${7*7}{{7*7}}", "%s%n%d", "' OR 1=1 --", "\\", "x" * 300, "x" * 2001, "x" * 17000, "-1", "0",
    "1e999", "9" * 400, "null", "[]", "{}", "true", "NaN", "a b", "+", "&", "=", ";", "#", "?", "http://[",
    "http://a:b:c",
    "http://127.0.0.1:99999/callback", f"http://{EVIL}", f"//{EVIL}", "urn:x", "data:,x", "a" * 43, "😀" * 43,
)  # fmt: skip

_RAW: Final = (
    b"%", b"%%", b"%zz", b"%0", b"%u0041", b"%00", b"%0d%0a" + INJECTED.encode() + b"%3a1", b"%ff%fe", b"%c0%af",
    b"%c0%80", b"%ed%a0%80", b"%ed%bf%bf", b"%f4%90%80%80", b"%f8%88%80%80%80", b"%e2%82", b"%252e%252e", b"+", b"%20",
    b"\xff\xfe", b"\x80", b"\xed\xa0\x80", b"\xc3\xa9", b"\x01\x02\x7f",
)  # fmt: skip


def value(random: Random) -> bytes:
    """Return a hostile value, encoded for a form or a query in one of several ways."""
    kind = random.randrange(8)
    if kind == 0:
        return random.choice(_RAW) * random.choice((1, 1, 1, 50))
    if kind == 1:
        return quote(random.randbytes(random.randrange(1, 40))).encode()
    if kind == 2:
        points = (random.randrange(0x110000) for _ in range(random.randrange(1, 30)))
        return quote("".join(map(chr, points)).encode("utf-8", "surrogatepass")).encode()
    text = random.choice(TEXTS)
    if kind == 3:
        return quote(quote(text)).encode()
    return quote_plus(text).encode()


def parameter_name(random: Random, request: Request) -> bytes:
    known = [name for name, _ in request.pairs]
    return random.choice([*known, *known, b"unknown", b"", b"client_id", b"csrf_token", b"interaction", b"__proto__"])
