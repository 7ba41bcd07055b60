"""Twists of the request line: method, path, and version, and several requests in one connection."""

from __future__ import annotations

from random import Random
from urllib.parse import quote

from support.fuzz.request import EVIL, INJECTED, MARK, Request, value


def method(random: Random, request: Request) -> None:
    request.method = random.choice(
        (b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"PROPFIND", b"get",
        b"M-SEARCH", b"A" * 20)
    )  # fmt: skip
    request.broken = True


def path(random: Random, request: Request) -> None:
    way = request.path
    request.path = random.choice(
        (
            b"/" + way, way + b"/", way + b"//", way + b"/..", b"/." + way, b"/%2e%2e" + way, way + b"%00",
            way + b"%ff", way + b";a=b",
            way + b"%2f", way + b"#x", way + b"?" + b"?" * 50, way + b"%0d%0a" + INJECTED.encode() + b":1",
            way.upper(), way + b"\xff",
            b"/static/rolecall/../../../etc/passwd", b"/static/rolecall/%2e%2e/%2e%2e/web.py",
            b"/static/rolecall/%00", b"/static/",
            b"/" + MARK.replace(" ", "").encode(), b"/" + quote(MARK).encode(), b"/" + b"a" * 8_500,
            b"/_lab/" + MARK.encode(), b"/\\" + EVIL.encode(),
            b"/_lab/events?limit=-1", b"/favicon.ico", b"*",
            b"/.well-known/x/" + value(random)[:900],
            b"/_lab/view", b"/%5c%5c" + EVIL.encode(), b"/" + value(random)[:3_000].replace(b"\n", b""),
            b"/invoices/" + value(random)[:900], b"",
        )
    )  # fmt: skip
    request.broken = True


def line(random: Random, request: Request) -> None:
    """Change the HTTP version, or the bytes around the request line."""
    request.broken = request.ends = True
    kind = random.randrange(9)
    if kind < 5:
        request.version = (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"http/1.1", b"")[kind]
    elif kind == 5:
        request.newline = b"\n"
    elif kind == 6:
        request.method = b"\r\n\r\n" + request.method
    elif kind == 7:
        request.method = request.method + b"\t"
    else:
        request.method = b"\x16\x03\x01\x00\xa5\x01\x00\x00" + random.randbytes(30)


def http_1_0(random: Random, request: Request) -> None:
    request.version = b"HTTP/1.0"
    request.ends = True
    if random.random() < 0.5:
        request.put(b"Connection", b"keep-alive")


def pipelined(random: Random, request: Request) -> None:
    request.copies = random.choice((2, 5, 20))
    request.ends = True
