"""Twists of credentials: tokens that only look like tokens, and malformed Authorization headers."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Final
from urllib.parse import quote

from support.fuzz.request import EVIL, Request

_TOKENS: Final = {
    b"token", b"refresh_token", b"code", b"access_token", b"id_token_hint", b"request", b"client_assertion",
}  # fmt: skip


def _segment(document: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")


def hostile_token(random: Random, good: bytes) -> bytes:
    """Return a value that may look like an access token, but is not valid."""
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


def authorization(random: Random, request: Request) -> None:
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
    request.broken = True  # gunicorn closes the connection without a response to some of them


def token_parameter(random: Random, request: Request) -> None:
    for place, (name, found) in enumerate(request.pairs):
        if name in _TOKENS:
            request.pairs[place] = (name, quote(hostile_token(random, found)).encode())
