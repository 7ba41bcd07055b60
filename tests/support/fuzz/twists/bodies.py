"""Twists of the body: its media type, its format, and its framing (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

from random import Random
from typing import Final

from support.fuzz.request import FORM, Request, parameter_name, value

_TYPES: Final = (
    b"application/json", b"text/plain", b"", b"multipart/form-data", b"multipart/form-data; boundary=", b"a/b/c",
    b";;;",
    b"multipart/form-data; boundary=" + b"x" * 3000, FORM + b"; charset=utf-16", FORM + b"; charset=nonsense",
    b"\xff\xfe",
    b"application/x-www-form-urlencoded, application/json", b"multipart/form-data; boundary=x; boundary=y",
)  # fmt: skip


def content_type(random: Random, request: Request) -> None:
    request.put(b"Content-Type", random.choice(_TYPES))


def json_body(random: Random, request: Request) -> None:
    request.method = b"POST" if random.random() < 0.8 else b"PUT"
    request.put(b"Content-Type", b"application/json")
    shapes = ("[" * 20_000, '{"a":' * 5_000, "1" * 5_000, '"\\ud800"', "{", "null", '{"offset": 1e999}', '{"now": "x"}')
    request.body = random.choice(shapes).encode()


def multipart(random: Random, request: Request) -> None:
    request.method = b"POST"
    request.put(b"Content-Type", b"multipart/form-data; boundary=x")
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    file = random.choice((b"", b'; filename="a"', b'; filename="\xff\x00"', b"; filename*=utf-8''%ff"))
    parts = [part % (parameter_name(random, request), file, value(random)) for _ in range(random.choice((1, 3, 150)))]
    request.body = b"".join(parts) + random.choice((b"--x--\r\n", b"--x", b"", b"--x\r\n"))


def framing(random: Random, request: Request) -> None:
    """Send an invalid Content-Length, or framing headers that contradict each other (RFC 9112 section 6.3)."""
    request.method, request.ends, request.broken = b"POST", True, True
    request.framing = random.choice(
        (
            b"Content-Length: -1", b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 0x5",
            b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 99999999999999999999", b"Content-Length: \xb2",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: xchunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: \x0bchunked", b"",
            b"Content-Length: 100000", b"Content-Length: 1",
        )
    )  # fmt: skip


def chunked(random: Random, request: Request) -> None:
    request.method = b"POST"
    request.framing = b"Transfer-Encoding: chunked"
    content = b"&".join(name + b"=" + value for name, value in request.pairs)
    chunks = [content[i : i + 7] for i in range(0, min(len(content), 700), 7)]
    request.body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def bad_chunks(random: Random, request: Request) -> None:
    chunked(random, request)
    request.ends = request.broken = True
    request.body = random.choice(
        (
            b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcXX0\r\n\r\n", b"-1\r\n\r\n", b"ffffffffffffffffff\r\nabc", b"3\r\nab",
            b"3;a=\x00\r\nabc\r\n0\r\n\r\n", b"3\nabc\n0\n\n", b"", b"\r\n", b"0\r\nTrailer: x\r\n\r\n",
            b"0\r\nTrailer\r\n\r\n",
            b"3;" + b"e" * 20_000 + b"\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"0", b"1\r\na\r\n" * 3_000,
            b"3 \r\nabc",
            b"0\r\n" + b"T: x\r\n" * 3_000 + b"\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n\r\n",
        )
    )  # fmt: skip


def truncated(random: Random, request: Request) -> None:
    """Close the connection in the middle of the body."""
    request.method, request.ends, request.broken = b"POST", True, True
    request.framing = b"Content-Length: %d" % random.choice((60, 5_000, 60_000, 10**7))
    request.body = b"a=" + value(random)[:50]
