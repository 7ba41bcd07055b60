"""Hostile JWTs at each place that accepts a JWT: all of them are rejected with the right response."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt
import pytest
from joserfc.jwk import ECKey
from werkzeug.test import TestResponse

from support.auth_server import CALLBACK, CHALLENGE, ISSUER, Server, query
from support.openid import ASKED, RP, relying_party, tokens, with_claims
from support.signing import (
    KEYS,
    Key,
    claims,
    hmac_signed,
    is_in,
    is_refused,
    jwks,
    present,
    segment,
    sign_parts,
    signed,
    signer,
)

EVIL: Final = ECKey.generate_key("P-256")
EVIL_JWK: Final = {**EVIL.as_dict(private=False), "kid": "evil"}


@dataclass(frozen=True, slots=True)
class Good:
    """A valid JWT, and the keys with which an attacker could make others.

    Args:
        verifier: the key pair whose public key verifies the JWT; the public key is known to everyone.
        hand: the key that signs the hostile JWTs: the client's key if clients sign such JWTs, otherwise an unknown key.
        other: a valid JWT of another kind.
    """

    token: str
    verifier: Key
    hand: Key
    other: str

    @property
    def header(self) -> dict[str, Any]:
        return dict(jwt.get_unverified_header(self.token))

    @property
    def claims(self) -> dict[str, Any]:
        return dict(jwt.decode(self.token, options={"verify_signature": False}))

    def made(self, claims: Any, key: Key | None = None, **header: Any) -> str:
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        head = json.dumps({**self.header, "alg": "ES256", **header}).encode()
        return sign_parts(head, payload, "ES256", key or self.hand)

    def unsigned(self, signature: str = "") -> str:
        head = segment(json.dumps({**self.header, "alg": "none"}).encode())
        return f"{head}.{self.token.split('.')[1]}.{signature}"

    def by_public_key(self, secret: bytes) -> str:
        """Return the claims with the public key as the HMAC secret (RFC 8725 section 2.1)."""
        header = {name: value for name, value in self.header.items() if name != "alg"}
        return hmac_signed(self.claims, secret, **header)

    @property
    def public(self) -> bytes:
        """The public key as it appears in the key set."""
        return json.dumps(self.verifier.as_dict(private=False)).encode()


HOSTILE: Final[dict[str, Callable[[Good], str]]] = {
    "none": lambda good: good.unsigned(),
    "none, with a signature": lambda good: good.unsigned(good.token.rpartition(".")[2]),
    "None": lambda good: good.made(good.claims, alg="None"),
    "another kind": lambda good: good.other,
    "another typ": lambda good: good.made(good.claims, typ="secevent+jwt"),
    "typ is a list": lambda good: good.made(good.claims, typ=["JWT"]),
    "the public key as a secret": lambda good: good.by_public_key(good.public),
    "the public key's PEM as a secret": lambda good: good.by_public_key(good.verifier.as_pem(private=False)),
    "jwk": lambda good: good.made(good.claims, EVIL, jwk=EVIL_JWK),
    "jwk, under its own kid": lambda good: good.made(good.claims, EVIL, jwk=EVIL_JWK, kid="evil"),
    "jku": lambda good: good.made(good.claims, EVIL, jku="https://evil.example/jwks"),
    "x5u": lambda good: good.made(good.claims, EVIL, x5u="https://evil.example/certificate"),
    "x5c": lambda good: good.made(good.claims, EVIL, x5c=["MII"]),
    "crit": lambda good: good.made(good.claims, EVIL, crit=["exp"]),
    "another key": lambda good: good.made(good.claims, EVIL),
    "kid is a number": lambda good: good.made(good.claims, EVIL, kid=5),
    "kid is a path": lambda good: good.made(good.claims, EVIL, kid="../../dev/null"),
    "alg is a number": lambda good: good.made(good.claims, EVIL, alg=256),
    "oversized": lambda good: good.made({**good.claims, "more": "x" * 9000}),
    "nested": lambda good: good.made(good.token.encode(), cty="JWT"),
    "numbers": lambda good: good.made(dict.fromkeys(good.claims, 5)),
    "lists": lambda good: good.made({name: [value] for name, value in good.claims.items()}),
    "objects": lambda good: good.made({name: {} for name in good.claims}),
    "nulls": lambda good: good.made(dict.fromkeys(good.claims)),
    "a list": lambda good: good.made([good.claims]),
    "a string": lambda good: good.made("claims"),
    "deep": lambda good: good.made(b"[" * 4000),
    "no JSON": lambda good: good.made(b"{"),
    "names twice": lambda good: good.made(b'{"iss":"a",' + json.dumps(good.claims).encode()[1:], EVIL),
    "changed": lambda good: ".".join([good.token.split(".")[0], segment(b"{}"), good.token.split(".")[2]]),
    "cut": lambda good: good.token.rpartition(".")[0],
    "encrypted": lambda _: "a.b.c.d.e",
    "dots": lambda _: "." * 100,
}


@dataclass(frozen=True, slots=True)
class Taker:
    """A place that accepts JWTs.

    Args:
        good: returns a JWT that the place accepts.
        takes: sends a JWT, checks the response, and returns whether the JWT was accepted.
    """

    good: Callable[[Server], Good]
    takes: Callable[[Server, str], bool]


def _of_client(make: Callable[[], str]) -> Callable[[Server], Good]:
    return lambda server: Good(make(), KEYS["ES256"], KEYS["ES256"], tokens(server)["id_token"])


def _of_server(kind: str, other: str, algorithm: str) -> Callable[[Server], Good]:
    def make(server: Server) -> Good:
        given = tokens(server, scope="openid invoices:read")
        return Good(given[kind], server.services.keys.signing(algorithm).private, EVIL, given[other])

    return make


def _request_object() -> str:
    asked = {"response_type": "code", "redirect_uri": CALLBACK, "scope": "invoices:read", "client_id": "signer"}
    asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    return signed({**claims("signer", sub=None), **asked})


def _at_authorize(server: Server, error: str, parameters: dict[str, str]) -> bool:
    response = server.app.test_client().get("/authorize", query_string=parameters)
    assert response.status_code == 303, response.text
    if "/sign-in" in response.location:
        return True
    answer = query(response.location)
    assert (answer["error"], answer["iss"]) == (error, ISSUER)
    return False


def _assertion(server: Server, token: str) -> bool:
    answer = present(server, token)
    too_long = (answer.status_code, answer.json["error"]) == (400, "invalid_request")
    assert [is_in(answer), is_refused(answer), too_long].count(True) == 1, answer.text
    return is_in(answer)


def _by_request_object(server: Server, token: str) -> bool:
    asked = {"client_id": "signer", "redirect_uri": CALLBACK, "request": token}
    return _at_authorize(server, "invalid_request_object", asked)


def _hint(server: Server, token: str) -> bool:
    return _at_authorize(server, "invalid_request", {**ASKED, "response_type": "code", "id_token_hint": token})


def _at_userinfo(server: Server, ask: Callable[[str], TestResponse], token: str) -> bool:
    answer = ask(token)
    if answer.status_code == 200:
        return True
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    return False


def _userinfo(server: Server, token: str) -> bool:
    client = server.app.test_client()
    in_header = _at_userinfo(
        server, lambda each: client.get("/userinfo", headers={"Authorization": f"Bearer {each}"}), token
    )
    in_body = _at_userinfo(server, lambda each: client.post("/userinfo", data={"access_token": each}), token)
    assert in_header == in_body
    return in_header


def _introspect(server: Server, token: str) -> bool:
    answer = server.introspect(token)
    assert answer["active"] or answer == {"active": False}
    return bool(answer["active"])


def _revoke(server: Server, token: str) -> bool:
    """RFC 7009 section 2.2: the response is always 200, so return whether a token was revoked."""
    before = {*server.services.store.client.keys("*revoked*")}
    answer = server.post("/revoke", RP, token=token)
    assert (answer.status_code, answer.data) == (200, b"")
    return {*server.services.store.client.keys("*revoked*")} != before


TAKERS: Final = {
    "assertion": Taker(_of_client(lambda: signed(claims("signer"))), _assertion),
    "request object": Taker(_of_client(_request_object), _by_request_object),
    "id_token_hint": Taker(_of_server("id_token", "access_token", "RS256"), _hint),
    "userinfo": Taker(_of_server("access_token", "id_token", "ES256"), _userinfo),
    "introspect": Taker(_of_server("access_token", "id_token", "ES256"), _introspect),
    "revoke": Taker(_of_server("access_token", "id_token", "ES256"), _revoke),
}


@pytest.fixture
def op(server: Server) -> Server:
    with_claims(server)
    server.add(relying_party(), signer(jwks=jwks("ES256")))
    return server


@pytest.mark.parametrize("name", TAKERS)
def test_no_hostile_jwt_is_taken(name: str, op: Server) -> None:
    """RFC 8725 sections 2 and 3; RFC 7523 section 3, RFC 9101 section 6.2, RFC 9068 section 4, RFC 7662 section 2.2.

    The hint is that of OpenID Connect Core section 3.1.2.1. The valid JWT shows that the others are not rejected
    because of the way in which they are sent.
    """
    taker = TAKERS[name]
    good = taker.good(op)
    taken = [what for what, make in HOSTILE.items() if taker.takes(op, make(good))]
    assert taken == []
    assert taker.takes(op, good.token)
