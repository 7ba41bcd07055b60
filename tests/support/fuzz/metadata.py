"""Hostile client metadata (RFC 7591 section 2): JSON with invalid members, an invalid format, or both."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any, Final

from rolecall_auth.clients.metadata import MEMBERS
from support.fuzz.request import EVIL, MARK, TEXTS

GOOD: Final[dict[str, Any]] = {
    "client_name": "A client of the fuzz",
    "redirect_uris": ["http://localhost:9000/callback"],
    "scope": "openid profile",
}

_NAMES: Final = (
    *(member.name for member in MEMBERS),
    *("client_id", "client_secret", "registration_access_token", "registration_client_uri", "client_id_issued_at"),
    *("software_statement", "client_name#de", "__proto__", "constructor", "", "\0", MARK, "profile", "disabled_at"),
)
"""Names of the table, names that only the server sets, and unknown names."""

NEAR: Final[tuple[Any, ...]] = (
    "javascript:alert(1)", "http://127.0.0.1:1/x", "https://127.0.0.1:1/x", "https://localhost:1/#x", "https://[::1",
    "https://a:b@localhost/", "//localhost/x", "https://localhost\\@x/", "https://\u0131.localhost/", "file:///etc/passwd",
    f"https://{'a' * 300}.localhost/", "com.example.app:/x", "none", "HS256", "private_key_jwt", "client_secret_jwt",
    "pairwise", "native", "code", "id_token token", "openid offline_access", "refresh_token", "implicit",
    ["authorization_code", "refresh_token"], ["code", "code"], ["http://localhost:9000/callback"] * 20,
    [f"http://{EVIL}/callback"], ["http://localhost/callback#x"], ["javascript:alert(1)"], [[]], [None], [5], [{}],
    {"keys": []}, {"keys": [None, 5, [], {}]}, {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]},
    {"keys": {"0": {}}}, {"keys": [{"kty": {"a": []}, "kid": []}]},
    {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}, {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]},
    {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "d": "A" * 43}]},
    {"keys": [{"kty": "RSA", "n": "A" * 5000, "e": "AQAB"}] * 60}, {"keys": [{"kty": "EC", "crv": ["P-256"]}]},
)  # fmt: skip
"""Values that are valid or almost valid for some member."""

VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1.5, 1e308, 10**400, math.nan, math.inf, [], {}, {"a": {"b": []}}, "\ud800", "a\udfffb",
    "x" * 501, "x" * 2001, "x" * 60_000, ["x" * 100] * 500, [["x"] * 50] * 50,
    {str(number): number for number in range(500)},
)  # fmt: skip


def hostile(random: Random) -> bytes:
    """Return a body for `POST /register` or for a `PUT` of a registration, which is sometimes valid."""
    document = dict(GOOD)
    for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
        document[random.choice(_NAMES)] = _value(random)
    if random.random() < 0.1:
        document.pop(random.choice([*document]))
    text = json.dumps(document, ensure_ascii=random.random() < 0.8)
    return _form(random, text) if random.random() < 0.4 else text.encode("utf-8", "surrogatepass")


def _value(random: Random) -> Any:
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(VALUES)
    if kind == 1:
        return random.choice(
            (random.choice(TEXTS), [random.choice(TEXTS)], {random.choice(TEXTS): random.choice(TEXTS)})
        )
    return random.choice(NEAR)


def _form(random: Random, text: str) -> bytes:
    """Return the document in a format that JSON does not allow, or only just allows (RFC 8259)."""
    raw = text.encode("utf-8", "surrogatepass")
    deep = random.choice((20, 900, 100_000))
    return random.choice(
        (
            b"\xef\xbb\xbf" + raw, text.encode("utf-16", "surrogatepass"), text.encode("utf-32", "surrogatepass"),
            raw[: random.randrange(len(raw))], raw + b"\0", raw + raw, raw + b"//", b"[" + raw + b"]", b"", b" ",
            b"null", b'"x"', b"[" * deep, b'{"a":' * deep + b"1" + b"}" * deep,
            b'{"jwks":{"keys":' + b"[" * deep + b"]" * deep + b"}}", raw.replace(b'"', b"'"),
            raw[:-1] + b',"redirect_uris":["javascript:alert(1)"]}', b'{"client_name":"a",' + raw[1:],
            raw[:-1] + b',"default_max_age":' + b"9" * 5_000 + b"}", raw[:-1] + b',"default_max_age":1e99999}',
            raw[:-1] + b',"client_name":"\\ud800"}', raw[:-1] + b',"client_name":"\\x00"}', raw[:-1] + b',"x":NaN}',
            b'{"x":"' + b"a" * 1_000_000 + b'",' + raw[1:],
            b"{" + b",".join(b'"m%d":0' % number for number in range(10_000)) + b"," + raw[1:],
            raw[:-1] + b',"client_name":"\xff\xfe"}',
        )
    )  # fmt: skip
