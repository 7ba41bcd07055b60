"""Hostile requests: what a route is usually sent, twisted in one to three of the ways of a table.

Everything is drawn from one random source, so a number and a seed give the same request again. What is reflected
unescaped shows by `MARK`, what is believed of a forged host by `EVIL`, a header that was smuggled in by `INJECTED`.
"""

from __future__ import annotations

import base64
import json
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
    """A request before it is bytes.

    Args:
        pairs: the parameters, encoded already; they go into the body of a POST, else into the address.
        ends: what follows in the connection means nothing any more: half-close after it, and read to the end.
        broken: no HTTP any more, so closing the connection is an answer.
        seconds: the route may take longer than others (it hashes a password).
        twists: the names of what was done to it.
        only: the statuses that alone are right, where nothing else was done to it.
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
        """Set a header, in the place of those of its name."""
        self.headers = [each for each in self.headers if each[0].lower() != name.lower()]
        self.headers.append((name, value))

    def encoded(self) -> bytes:
        """The bytes that are sent."""
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
    """A hostile value, encoded for a form or an address in one of several ways."""
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


def _name(random: Random, request: Request) -> bytes:
    known = [name for name, _ in request.pairs]
    return random.choice([*known, *known, b"unknown", b"", b"client_id", b"csrf_token", b"interaction", b"__proto__"])


def _replace_value(random: Random, request: Request) -> None:
    if request.pairs:
        place = random.randrange(len(request.pairs))
        request.pairs[place] = (request.pairs[place][0], value(random))
    else:
        request.pairs.append((_name(random, request), value(random)))


def _repeat(random: Random, request: Request) -> None:
    name = _name(random, request)
    other = value(random) if random.random() < 0.5 else dict(request.pairs).get(name, b"x")
    request.pairs.insert(random.randrange(len(request.pairs) + 1), (name, other))


def _drop(random: Random, request: Request) -> None:
    if request.pairs:
        del request.pairs[random.randrange(len(request.pairs))]


def _hostile_name(random: Random, request: Request) -> None:
    name = random.choice((value(random)[:2000], _name(random, request).upper(), _name(random, request) + b"%5B%5D"))
    request.pairs.append((name, b"x"))


def _ten_thousand(random: Random, request: Request) -> None:
    name = _name(random, request)
    if request.method == b"POST":
        request.pairs += [(name + (b"%d" % i if random.random() < 0.5 else b""), b"1") for i in range(10_000)]
    elif random.random() < 0.5:
        request.pairs += [(name, b"1")] * 700
    else:
        request.pairs += [(name, b"1")] * 10_000
        _too_long(request)


def _megabyte(random: Random, request: Request) -> None:
    unit = random.choice((b"x", b"%00", b"\xff", b"&", b"%cc%81"))
    large = unit * (MEGABYTE // len(unit))
    if request.body is None:
        request.pairs.append((_name(random, request), large))
    else:
        request.body += large
    if request.body is not None or request.method == b"POST":
        request.ends, request.only = True, frozenset(range(400, 500))
    else:
        _too_long(request)


def _too_long(request: Request) -> None:
    """No server reads a first line of this length to the end (RFC 9112 section 3)."""
    request.ends = request.broken = True
    request.only = frozenset({400, 414, 431})


def _big_but_allowed(random: Random, request: Request) -> None:
    """As much as is read, of what is expensive to look at."""
    unit = random.choice(("\u0301\u0316", "ﷺ", "&", "%", "a=", "\u1100\u1161", "\0")).encode()
    room = 60_000 if request.method == b"POST" else 6_000
    request.pairs.append((_name(random, request), unit * (room // len(unit))))


def _in_address(random: Random, request: Request) -> None:
    request.path += b"?" + _name(random, request) + b"=" + value(random)[:3000]


_TYPES: Final = (
    b"application/json", b"text/plain", b"", b"multipart/form-data", b"multipart/form-data; boundary=", b"a/b/c",
    b";;;",
    b"multipart/form-data; boundary=" + b"x" * 3000, FORM + b"; charset=utf-16", FORM + b"; charset=nonsense",
    b"\xff\xfe",
    b"application/x-www-form-urlencoded, application/json", b"multipart/form-data; boundary=x; boundary=y",
)  # fmt: skip


def _content_type(random: Random, request: Request) -> None:
    request.put(b"Content-Type", random.choice(_TYPES))


def _json_body(random: Random, request: Request) -> None:
    request.method = b"POST" if random.random() < 0.8 else b"PUT"
    request.put(b"Content-Type", b"application/json")
    shapes = ("[" * 20_000, '{"a":' * 5_000, "1" * 5_000, '"\\ud800"', "{", "null", '{"offset": 1e999}', '{"now": "x"}')
    request.body = random.choice(shapes).encode()


def _multipart(random: Random, request: Request) -> None:
    request.method = b"POST"
    request.put(b"Content-Type", b"multipart/form-data; boundary=x")
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    file = random.choice((b"", b'; filename="a"', b'; filename="\xff\x00"', b"; filename*=utf-8''%ff"))
    parts = [part % (_name(random, request), file, value(random)) for _ in range(random.choice((1, 3, 150)))]
    request.body = b"".join(parts) + random.choice((b"--x--\r\n", b"--x", b"", b"--x\r\n"))


def _framing(random: Random, request: Request) -> None:
    """What a length may not be, and what two lengths may not be (RFC 9112 section 6.3)."""
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


def _chunked(random: Random, request: Request) -> None:
    request.method = b"POST"
    request.framing = b"Transfer-Encoding: chunked"
    content = b"&".join(name + b"=" + value for name, value in request.pairs)
    chunks = [content[i : i + 7] for i in range(0, min(len(content), 700), 7)]
    request.body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def _bad_chunks(random: Random, request: Request) -> None:
    _chunked(random, request)
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


def _truncated(random: Random, request: Request) -> None:
    """The sender goes away in the middle of the body."""
    request.method, request.ends, request.broken = b"POST", True, True
    request.framing = b"Content-Length: %d" % random.choice((60, 5_000, 60_000, 10**7))
    request.body = b"a=" + value(random)[:50]


FORWARDED: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"X-Forwarded-Host", EVIL.encode()), (b"X-Forwarded-For", b"\xff, 1"), (b"X-Forwarded-For", b"127.0.0.1"),
    (b"X-Forwarded-Proto", b"https, " + MARK.encode()), (b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Port", b"-1"),
    (b"X-Forwarded-Prefix", b"//" + EVIL.encode()), (b"Forwarded", b"for=1;host=" + EVIL.encode()),
    (b"X-Original-URL", b"/apps"), (b"X-Rewrite-URL", b"/apps"), (b"X-Host", EVIL.encode()),
    (b"X-HTTP-Method-Override", b"DELETE"), (b"X-Method-Override", b"PUT"), (b"X_Forwarded_Host", EVIL.encode()),
    (b"Content_Length", b"5"), (b"Script_Name", b"//" + EVIL.encode()), (b"X-Script-Name", b"/x"),
    (b"SCRIPT-NAME", b"//" + EVIL.encode()), (b"REMOTE-USER", b"alice"), (b"Proxy", b"http://x"),
)  # fmt: skip
"""What a proxy may add, or what somebody reads as if a proxy had."""

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


def _header(random: Random, request: Request) -> None:
    for _ in range(random.choice((1, 1, 3))):
        request.headers.append(random.choice(_HEADERS))


def _broken_header(random: Random, request: Request) -> None:
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


def _many_headers(random: Random, request: Request) -> None:
    request.broken = request.ends = True
    request.headers += [(b"X-%d" % i, b"1") for i in range(random.choice((90, 101, 300, 5_000)))]


def _repeated_header(random: Random, request: Request) -> None:
    request.broken = True
    name, value = random.choice(
        ((b"Authorization", b"Basic eDp5"), (b"Authorization", b"Bearer a.b.c"), (b"Cookie", b"rolecall_auth=x"),
         (b"Content-Type", b"text/plain"), (b"Accept", b"text/html"), (b"traceparent", b"x"))
    )  # fmt: skip
    request.headers.append((name, value))


def _host(random: Random, request: Request) -> None:
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


def _cookie(random: Random, request: Request) -> None:
    cookies = dict(request.headers).get(b"Cookie", b"")
    junk = b"; ".join(b"c%d=%s" % (i, b"x" * 60) for i in range(random.choice((1, 50, 110))))
    request.put(
        b"Cookie",
        random.choice(
            (
                cookies[:-3] + b"AAA", b"rolecall_auth=" + value(random)[:3_000], cookies + b"; rolecall_auth=x",
                junk, b"=;=;;",
                b"rolecall_auth=.eJw" + b"A" * 3_000, cookies.replace(b"rolecall_auth=", b"rolecall_client="),
                b"\xff\xfe=1",
                b"rolecall_auth_known=" + value(random)[:3_000], b"rolecall_auth=" + b"." * 3_000, b'a="\\777\\000"',
                b"",
            )
        ),
    )  # fmt: skip


def _segment(document: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")


def hostile_token(random: Random, good: bytes) -> bytes:
    """No access token, though it may look like one."""
    parts = [*good.split(b"."), b"", b"", b""][:3]
    deep = base64.urlsafe_b64encode(random.choice((b"[", b'{"a":')) * 800).rstrip(b"=")
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "x"}
    headers: tuple[object, ...] = (
        {**header, "alg": "none"}, {**header, "alg": "HS256"}, {**header, "alg": ["ES256"]}, {**header, "kid": None},
        [], 5, "x",
        {**header, "kid": {"a": []}}, {**header, "crit": ["exp"]}, {**header, "kid": "../../x"}, {**header, "typ": 5},
        None,
        {**header, "jku": f"http://{EVIL}/"}, {**header, "kid": "\ud800"}, {**header, "alg": "\0"}, {**header,
        "b64": False},
    )  # fmt: skip
    claims: tuple[object, ...] = ({}, [], None, {"exp": "x"}, {"exp": 1e300}, {"iss": {}}, "x")
    return random.choice(
        (
            b".".join((_segment(random.choice(headers)), parts[1], parts[2])),
            b".".join((parts[0], _segment(random.choice(claims)), parts[2])), b".".join((deep, parts[1], parts[2])),
            b".".join((parts[0], deep, parts[2])), good[:-1], good + b"A", good + b".a.b", b"..", b".", b"a.b.c",
            b"x" * 9_000,
            b"." * 8_000, parts[0] + b"..", good.upper(), b"=" * 20, b"~" * 100, good.replace(b".", b"=."), b"\xff\xfe",
        )
    )  # fmt: skip


def _authorization(random: Random, request: Request) -> None:
    known = dict(request.headers).get(b"Authorization", b"Bearer a.b.c")
    scheme, _, credentials = known.partition(b" ")
    pairs = (
        b"",
        b":",
        b"tally",
        b"tally:",
        b":x",
        b"\xff\xfe:\x00",
        b"tally:x\x00",
        b"%ff:%00",
        b"a:" + b"x" * 5_000,
        b"%74ally:x",
    )
    request.put(
        b"Authorization",
        random.choice(
            (
                b"Basic " + base64.b64encode(random.choice(pairs)), b"Basic", b"Basic =", b"Basic \xff", b"Bearer",
                b"", b" ",
                b"Bearer  " + credentials, b"bEaReR " + credentials, b"Bearer " + hostile_token(random, credentials),
                b"Bearer " + hostile_token(random, credentials), b"Digest x", b"Basic " + credentials + b", Basic eDp5",
                scheme + b"\t" + credentials, scheme + b" " + credentials + b" x", b"\x00", b"Bearer " + b"a" * 8_000,
            )
        ),
    )  # fmt: skip
    request.broken = True  # of some of them, gunicorn takes no notice but to close


_TOKENS: Final = {
    b"token", b"refresh_token", b"code", b"access_token", b"id_token_hint", b"request", b"client_assertion",
}  # fmt: skip


def _token_parameter(random: Random, request: Request) -> None:
    for place, (name, found) in enumerate(request.pairs):
        if name in _TOKENS:
            request.pairs[place] = (name, quote(hostile_token(random, found)).encode())


def _method(random: Random, request: Request) -> None:
    request.method = random.choice(
        (b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"PROPFIND", b"get",
        b"M-SEARCH", b"A" * 20)
    )  # fmt: skip
    request.broken = True


def _path(random: Random, request: Request) -> None:
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


def _line(random: Random, request: Request) -> None:
    """The first line, and what comes before it."""
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


def _http_1_0(random: Random, request: Request) -> None:
    request.version = b"HTTP/1.0"
    request.ends = True
    if random.random() < 0.5:
        request.put(b"Connection", b"keep-alive")


def _pipelined(random: Random, request: Request) -> None:
    request.copies = random.choice((2, 5, 20))
    request.ends = True


TWISTS: Final[tuple[Twist, ...]] = (
    _replace_value, _replace_value, _replace_value, _replace_value, _repeat, _repeat, _drop, _hostile_name,
    _ten_thousand, _megabyte,
    _big_but_allowed, _in_address, _content_type, _json_body, _multipart, _framing, _chunked, _bad_chunks, _truncated,
    _header, _header,
    _broken_header, _many_headers, _repeated_header, _host, _host, _cookie, _cookie, _authorization, _authorization,
    _token_parameter,
    _method, _path, _path, _line, _http_1_0, _pipelined,
)  # fmt: skip


def twist(random: Random, request: Request) -> Request:
    """The request, and nothing but trouble with it."""
    for chosen in random.choices(TWISTS, k=random.choice((0, 1, 1, 1, 2, 2, 3))):
        chosen(random, request)
        request.twists.append(chosen.__name__.strip("_"))
    if len(request.twists) > 1:
        request.only = frozenset()
    if request.framing is not None and len(request.twists) > 1:
        request.broken = request.ends = True  # another one may have changed the body
    return request
