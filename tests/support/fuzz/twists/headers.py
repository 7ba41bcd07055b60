"""Twists of the headers: hostile, malformed, repeated, or too many; the host and the cookies."""

from __future__ import annotations

from random import Random
from typing import Final

from support.fuzz.request import EVIL, INJECTED, MARK, Request, value

FORWARDED: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"X-Forwarded-Host", EVIL.encode()), (b"X-Forwarded-For", b"\xff, 1"), (b"X-Forwarded-For", b"127.0.0.1"),
    (b"X-Forwarded-Proto", b"https, " + MARK.encode()), (b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Port", b"-1"),
    (b"X-Forwarded-Prefix", b"//" + EVIL.encode()), (b"Forwarded", b"for=1;host=" + EVIL.encode()),
    (b"X-Original-URL", b"/apps"), (b"X-Rewrite-URL", b"/apps"), (b"X-Host", EVIL.encode()),
    (b"X-HTTP-Method-Override", b"DELETE"), (b"X-Method-Override", b"PUT"), (b"X_Forwarded_Host", EVIL.encode()),
    (b"Content_Length", b"5"), (b"Script_Name", b"//" + EVIL.encode()), (b"X-Script-Name", b"/x"),
    (b"SCRIPT-NAME", b"//" + EVIL.encode()), (b"REMOTE-USER", b"alice"), (b"Proxy", b"http://x"),
)  # fmt: skip
"""Headers that a proxy may add, and headers that a server may mistake for them."""

_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    *FORWARDED,
    (b"Origin", b"http://" + EVIL.encode()), (b"Origin", b"null"), (b"Referer", MARK.encode()), (b"User-Agent",
    MARK.encode() * 99),
    (b"Accept", b"text/html"), (b"Accept", b"text/html;q=nan, */*;q=" + b"9" * 300), (b"Accept", b"," * 4_000),
    (b"Accept", b"\xff"),
    (b"Accept-Language", b"../../" + MARK.encode()), (b"Accept-Encoding", b"\xff" * 100), (b"Range", b"bytes=0-,0-,0-"),
    (b"If-None-Match", b'"' * 999), (b"If-None-Match", b"*"), (b"If-Modified-Since", b"yesterday"), (b"If-Range",
    b"\xff"),
    (b"If-Match", b"*"), (b"Expect", b"100-continue"), (b"Expect", b"200-maybe"), (b"Upgrade", b"h2c"),
    (b"Connection", b"Upgrade"),
    (b"Connection", b"close, Authorization"), (b"TE", b"trailers"), (b"Trailer", b"Authorization"),
    (b"Content-Encoding", b"gzip"),
    (b"traceparent", b"00-" + b"f" * 32 + b"-" + b"g" * 16 + b"-01"), (b"traceparent", b"\xff" * 60), (b"tracestate",
    b"=" * 600),
    (b"Rolecall-Validator", b"jwt"), (b"Rolecall-Validator", MARK.encode()), (b"X-CSRFToken", MARK.encode()),
    (b"Date", b"\xff"),
    (b"DPoP", b"a.b.c"), (b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"navigate"), (b"Max-Forwards", b"-1"),
    (b"Via", b"x" * 7_000), (b"X", b""), (b"X-Long", b"x" * 8_000), (b"Cookie2", b"$Version=1"), (b"X-Request-Id",
    MARK.encode()),
)  # fmt: skip


def header(random: Random, request: Request) -> None:
    for _ in range(random.choice((1, 1, 3))):
        request.headers.append(random.choice(_HEADERS))


def broken_header(random: Random, request: Request) -> None:
    request.broken = request.ends = True
    request.headers.append(
        random.choice(
            (
                (b"X-Null", b"a\x00b"), (b"X-Return", b"a\rb"), (b"", b"no colon at all"), (b"", b": no name"),
                (b"X Space", b"1"), (b"X-Space ", b"1"), (b"X-Fold", b"1\r\n folded"), (b"", b"\tstarts folded"),
                (b"X-Feed", b"a\n" + INJECTED.encode() + b": 1"), (b"X-\xff", b"1"), (b"X\"<>", b"1"), (b"X-Huge",
                b"x" * 70_000),
            )
        )
    )  # fmt: skip


def many_headers(random: Random, request: Request) -> None:
    request.broken = request.ends = True
    request.headers += [(b"X-%d" % i, b"1") for i in range(random.choice((90, 101, 300, 5_000)))]


def repeated_header(random: Random, request: Request) -> None:
    request.broken = True
    name, value = random.choice(
        ((b"Authorization", b"Basic eDp5"), (b"Authorization", b"Bearer a.b.c"), (b"Cookie", b"rolecall_auth=x"),
         (b"Content-Type", b"text/plain"), (b"Accept", b"text/html"), (b"traceparent", b"x"))
    )  # fmt: skip
    request.headers.append((name, value))


def host(random: Random, request: Request) -> None:
    request.broken = True
    host = EVIL.encode()
    kind = random.randrange(10)
    if kind == 0:
        request.path = b"http://" + host + request.path
    elif kind == 1:
        request.headers = [each for each in request.headers if each[0] != b"Host"]
    elif kind == 2:
        request.headers.append((b"Host", host))
    elif kind == 3:
        request.path = b"//" + host + request.path
    else:
        names = (
            host,
            host + b":80",
            b"localhost:99999",
            b"localhost@" + host,
            b"a" * 5_000,
            b"\xff",
            b"",
            b"[",
            b"x y",
            MARK.encode(),
        )
        request.put(b"Host", random.choice(names))


def cookie(random: Random, request: Request) -> None:
    cookies = dict(request.headers).get(b"Cookie", b"")
    own = cookies.partition(b"=")[0] or b"rolecall_auth"
    junk = b"; ".join(b"c%d=%s" % (i, b"x" * 60) for i in range(random.choice((1, 50, 110))))
    request.put(
        b"Cookie",
        random.choice(
            (
                cookies[:-3] + b"AAA", own + b"=" + value(random)[:3_000], cookies + b"; " + own + b"=x",
                junk, b"=;=;;",
                own + b"=.eJw" + b"A" * 3_000, cookies.replace(own, b"rolecall_client"),
                b"\xff\xfe=1",
                own + b"_known=" + value(random)[:3_000], own + b"=" + b"." * 3_000, b'a="\\777\\000"',
                b"",
            )
        ),
    )  # fmt: skip
