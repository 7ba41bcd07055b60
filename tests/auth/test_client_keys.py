"""Clients' keys: their source, their selection, and invalid keys and JWTs (RFC 7517, OpenID Connect Core 10)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey

from rolecall import clock
from rolecall_auth.jose.client_keys import BadJWT, ClientKeys, public_keys
from rolecall_auth.outbound import fetcher
from rolecall_auth.outbound.cache import MIN_LIFETIME
from rolecall_auth.outbound.fetcher import Fetcher
from support.auth_server import DATA_KEY, Server
from support.signing import (
    KEYS,
    Keeper,
    claims,
    is_in,
    is_refused,
    jwk,
    jwks,
    present,
    segment,
    sign_parts,
    signed,
    signer,
)


def test_where_too_much_is_fetched_the_client_may_try_again(
    server: Server, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server responds with 503, not as if the keys were invalid, and does not count a failed authentication."""
    server.add(signer("far", jwks=None, jwks_uri=keeper.url + "/keys"))
    with monkeypatch.context() as patched:
        patched.setattr(server.services.fetcher, "_waiting", fetcher._Slots(0, 1))
        answer = present(server, signed(claims("far")))
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["Retry-After"]
    assert is_in(present(server, signed(claims("far"))))


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    keeper = Keeper(json.dumps(jwks("ES256")).encode())
    yield keeper
    keeper.stop()


def test_keys_come_from_jwks_uri_and_again_when_one_is_unknown(server: Server, keeper: Keeper) -> None:
    """OpenID Connect Core section 10.1.1: immediately the first time, then at most once per `MIN_LIFETIME`."""
    server.add(signer("far", jwks=None, jwks_uri=keeper.url + "/keys"))
    assert is_in(present(server, signed(claims("far"))))
    assert is_in(present(server, signed(claims("far"))))
    assert keeper.asked == ["/keys"]
    keeper.body = json.dumps(jwks("RS256")).encode()
    assert is_in(present(server, signed(claims("far"), "RS256")))
    assert len(keeper.asked) == 2
    keeper.body = json.dumps(jwks("ES256")).encode()
    for _ in range(5):
        assert is_refused(present(server, signed(claims("far"))))
    assert len(keeper.asked) == 2
    clock.set_offset(MIN_LIFETIME + 1)
    assert is_in(present(server, signed(claims("far"))))
    assert len(keeper.asked) == 3


def test_a_key_that_was_changed_under_its_old_name_is_fetched_too(server: Server, keeper: Keeper) -> None:
    """A client that changes its key but not the `kid` (OpenID Connect Core section 10.1.1) can still authenticate."""
    server.add(signer("far", jwks=None, jwks_uri=keeper.url + "/keys"))
    assert is_in(present(server, signed(claims("far"))))
    other = ECKey.generate_key("P-256")
    keeper.body = json.dumps({"keys": [jwk("ES256", other)]}).encode()
    assert is_in(present(server, signed(claims("far"), key=other)))
    assert len(keeper.asked) == 2
    for _ in range(3):
        assert is_refused(present(server, signed(claims("far"))))
    assert len(keeper.asked) == 2, "each invalid signature caused another fetch"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[5,null,{}]}', b"\xff", b"[" * 60000])
def test_a_jwks_uri_that_gives_no_keys(server: Server, keeper: Keeper, body: bytes) -> None:
    server.add(signer("far", jwks=None, jwks_uri=keeper.url), signer("none", jwks=None))
    keeper.body = body
    assert is_refused(present(server, signed(claims("far"))))
    assert is_refused(present(server, signed(claims("none"))))
    keeper.status, keeper.body = 500, json.dumps(jwks()).encode()
    clock.set_offset(MIN_LIFETIME + 1)
    assert is_refused(present(server, signed(claims("far"))))


UNFIT: dict[str, dict[str, Any]] = {
    "for encryption": {"use": "enc"},
    "to sign with": {"key_ops": ["sign"]},
    "for another algorithm": {"alg": "RS256"},
    "key_ops is text": {"key_ops": "verify"},
    "alg is a number": {"alg": 5},
    "kid is a number": {"kid": 5},
    "another curve": ECKey.generate_key("P-384").as_dict(private=False),
    "another kind": OKPKey.generate_key("X25519").as_dict(private=False),
    "symmetric": {"kty": "oct", "k": "c2VjcmV0"},
    "off the curve": {"x": "AAAA"},
    "x is a number": {"x": 5},
    "private": KEYS["ES256"].as_dict(private=True),
}


@pytest.mark.parametrize("what", UNFIT)
def test_keys_that_do_not_fit_are_passed_over(server: Server, what: str) -> None:
    server.add(signer("odd", jwks={"keys": [jwk("ES256", **UNFIT[what])]}))
    assert is_refused(present(server, signed(claims("odd"))))


def test_keys_that_fit(server: Server) -> None:
    good = jwk("ES256", use="sig", alg="ES256", key_ops=["verify"], x5t="abc")
    other = jwk("ES256", ECKey.generate_key("P-256"), kid="other")
    server.add(signer("good", jwks={"keys": [{"kty": "new"}, other, good, jwk("RS256")]}))
    assert is_in(present(server, signed(claims("good"))))
    assert is_in(present(server, signed(claims("good"), "RS256", kid=None))), "the only one that fits"
    assert is_refused(present(server, signed(claims("good"), kid=None))), "OpenID Connect Core section 10.1"


def test_rsa_keys_have_a_sensible_size() -> None:
    short = {"kty": "RSA", "e": "AQAB", "n": segment(b"\xff" * 128)}
    long = {"kty": "RSA", "e": "AQAB", "n": segment(b"\xff" * 2000)}
    assert public_keys(json.dumps({"keys": [short, long]}).encode()) == ()


def test_key_objects_are_kept() -> None:
    keys = ClientKeys(Fetcher(lab=True), DATA_KEY)
    [first], [second] = (list(keys.keys_for(signer())) for _ in range(2))
    assert len(first) == len(KEYS)
    assert all(one.key is other.key for one, other in zip(first, second, strict=True))
    assert not any(each.key.is_private for each in first)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
CLAIM = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "x"])
HEADER = st.sampled_from(["alg", "typ", "kid", "jku", "jwk", "x5c", "crit", "b64", "x"])
HEADERS = st.dictionaries(HEADER, JSON | st.sampled_from([*KEYS, "HS256", "none", "JWT"]))


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True))
def test_any_text_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(BadJWT):
        ClientKeys(Fetcher(lab=True), DATA_KEY).verified_claims(signer(), text, algorithms=[*KEYS, "HS256"])


@given(HEADERS, st.dictionaries(CLAIM, JSON) | JSON)
def test_any_signed_json_is_claims_or_refused_in_one_way(header: Any, value: Any) -> None:
    token = sign_parts(json.dumps({"alg": "ES256", **header}).encode(), json.dumps(value).encode(), "ES256")
    try:
        given = ClientKeys(Fetcher(lab=True), DATA_KEY).verified_claims(signer(), token, algorithms=[*KEYS, "HS256"])
    except BadJWT:
        return
    assert given == value
    assert all(isinstance(given.get(name, ""), str) for name in ("iss", "sub", "jti"))


@given(st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops", "d"]),
                       JSON | st.sampled_from(["EC", "RSA", "OKP", "P-256", "Ed25519", "AQAB", "sig"])))  # fmt: skip
def test_any_jwk_is_a_key_or_passed_over(jwk: Any) -> None:
    base = KEYS["RS256"].as_dict(private=False)
    with suppress(BadJWT):  # not even JSON
        for each in (jwk, {**base, **jwk}):
            public_keys(json.dumps({"keys": [each]}).encode())
