"""Request objects and client assertions, most of them invalid (RFC 8725 section 2).

The keys are those of `signing`, so some JWTs have a valid signature and invalid claims, and others have valid claims
and an invalid signature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any, Final

from joserfc.jwk import ECKey, RSAKey

from support.fuzz.metadata import NEAR, VALUES
from support.fuzz.request import EVIL, TEXTS
from support.signing import KEYS, hmac_signed, jwk, segment, sign_parts

_OTHER: Final = ECKey.generate_key("P-256")
_CLAIMS: Final = (
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "redirect_uri", "response_type", "scope", "state",
    "nonce", "max_age", "claims", "request", "request_uri", "response_mode", "prompt", "__proto__", "",
)  # fmt: skip
_HEADERS: Final[tuple[dict[str, Any], ...]] = (
    {"alg": "none"}, {"alg": "None"}, {"alg": ""}, {"alg": None}, {"alg": ["ES256"]}, {"alg": {"a": 1}}, {"alg": 5},
    {"alg": "HS256"}, {"alg": "RS256"}, {"alg": "ES512"}, {"alg": "ES256 "}, {"alg": "\0"}, {"alg": "A" * 5_000},
    {"typ": "at+jwt"}, {"typ": "dpop+jwt"}, {"typ": "oauth-authz-req+jwt"}, {"typ": "client-authentication+jwt"},
    {"typ": "JWT"}, {"typ": 5}, {"typ": []}, {"typ": None}, {"typ": "\ud800"}, {"cty": "JWT"}, {"zip": "DEF"},
    {"kid": None}, {"kid": 5}, {"kid": {"a": []}}, {"kid": "../../dev/null"}, {"kid": "' OR 1=1 --"}, {"kid": "\ud800"},
    {"kid": "nobody's"}, {"kid": "RS256"}, {"crit": ["exp"]}, {"crit": []}, {"crit": 5}, {"b64": False},
    {"b64": False, "crit": ["b64"]}, {"enc": "A128GCM"}, {"jku": f"http://{EVIL}/keys"}, {"x5u": f"http://{EVIL}/x"},
    {"x5c": ["AAAA"]}, {"jwk": jwk("ES256", _OTHER)}, {"jwk": {"kty": "oct", "k": ""}}, {"jwk": []}, {"x": ["y"] * 900},
)  # fmt: skip


def hostile(random: Random, claims: Mapping[str, Any], typ: str) -> str:
    """Return a JWT that is valid, or invalid in its header, its claims, its signature, or its format.

    Args:
        claims: the valid claims of the client whose keys are `signing.KEYS`.
        typ: the valid type, without `application/`.
    """
    algorithm = random.choice([*KEYS])
    header: dict[str, Any] = {"alg": algorithm, "kid": algorithm}
    if random.random() < 0.3:
        header["typ"] = typ
    changed = dict(claims)
    what = random.choice(("nothing", "header", "claims", "claims", "claims", "signature", "form"))
    if what == "header":
        header |= random.choice(_HEADERS)
    elif what == "claims":
        for _ in range(random.choice((1, 1, 2))):
            _change(random, changed)
    if what == "signature":
        return _not_signed(random, header, changed)
    if what == "form":
        return _not_formed(random, header, changed)
    return sign_parts(json.dumps(header).encode(), json.dumps(changed).encode(), algorithm)


def _change(random: Random, claims: dict[str, Any]) -> None:
    name = random.choice((*_CLAIMS, *claims))
    kind = random.randrange(6)
    if kind == 0:
        claims.pop(name, None)
    elif kind == 1:
        claims[name] = [claims.get(name, "x")] * random.choice((1, 2))
    elif kind == 2 and isinstance(claims.get(name), int):
        claims[name] += random.choice((-(10**6), -90, 90, 10**6, 10**20, 0.5))
    else:
        claims[name] = random.choice((random.choice(VALUES), random.choice(TEXTS), random.choice(NEAR)))


def _not_signed(random: Random, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Return an unsigned JWT, or one signed with a foreign, public, or weak key (RFC 8725 sections 2.1 and 2.2)."""
    top, payload = json.dumps(header).encode(), json.dumps(claims).encode()
    text = f"{segment(top)}.{segment(payload)}"
    kind = random.randrange(7)
    if kind == 0:
        none = segment(json.dumps({**header, "alg": random.choice(("none", "NONE", "nOnE"))}).encode())
        return f"{none}.{segment(payload)}.{random.choice(('', 'AA'))}"
    if kind == 1:
        key = random.choice([key for key in KEYS.values() if isinstance(key, RSAKey | ECKey)])
        public = random.choice(
            (key.as_pem(private=False), key.as_der(private=False), json.dumps(jwk("x", key)).encode())
        )
        return hmac_signed(claims, public, random.choice(("HS256", "HS512")), kid=header["kid"])
    if kind == 2:
        return hmac_signed(claims, random.choice(("", "secret", "None", "null")), "HS256", kid=header["kid"])
    if kind == 3:
        return sign_parts(json.dumps({**header, "alg": "ES256"}).encode(), payload, "ES256", _OTHER)
    if kind == 4:
        return f"{text}.{segment(random.choice((bytes(64), bytes(256), random.randbytes(64), b'x' * 3_000)))}"
    if kind == 5:
        return f"{text}."
    whole = sign_parts(top, payload, header["alg"])
    other = segment(json.dumps({**claims, "scope": "openid", "sub": "alice"}).encode())
    return f"{whole.split('.')[0]}.{other}.{whole.split('.')[2]}"


def _not_formed(random: Random, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Return a malformed JWT, which may have a valid signature (RFC 7519 section 7.2)."""
    algorithm = header["alg"]
    top, payload = json.dumps(header).encode(), json.dumps(claims).encode()
    deep = random.choice((20, 900, 1_400))
    texts = (
        b"", b"x", b"null", b"5", b"[]", b'"x"', b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep,
        b"\xef\xbb\xbf" + payload, b"\xff\xfe", json.dumps(claims).encode("utf-16"), payload[:-1], payload + b" ",
        payload[:-1] + b',"exp":NaN}', payload[:-1] + b',"exp":1e99999}',
        payload[:-1] + b',"exp":' + b"9" * 4_400 + b"}",
        payload[:-1] + b',"aud":["x"],"aud":"y"}', payload[:-1] + b',"iss":"\\ud800"}', b"{" + payload[1:] * 2,
        payload[:-1] + b',"x":"' + b"y" * random.choice((5_000, 9_000, 60_000)) + b'"}',
    )  # fmt: skip
    kind = random.randrange(3)
    if kind == 0:
        return sign_parts(top, random.choice(texts), algorithm)
    if kind == 1:
        heads = (*texts[:8], top[:-1] + b',"alg":"none"}', b"\xef\xbb\xbf" + top, top.replace(b'"', b"'"), top + b"\0")
        return sign_parts(random.choice(heads), payload, algorithm)
    whole = sign_parts(top, payload, algorithm)
    return random.choice(
        (
            whole + "=", whole + ".", "." + whole, whole.replace(".", ".."), whole.rpartition(".")[0],
            whole + ".a.b", whole[:-1], whole + "A", whole.upper(), whole.replace(".", "=."), " " + whole, whole + "\n",
            whole * 2, "..", ".", "a.b.c", "%", "\0", "x" * 8_192, "." * 8_193,
        )
    )  # fmt: skip
