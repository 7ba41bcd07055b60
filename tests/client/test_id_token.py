"""Every rule that an ID token can break (OpenID Connect Core section 3.1.3.7)."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from rolecall import checks, clock, events
from rolecall.errors import OAuthError
from rolecall_client import id_token
from support.openid_provider import SUB, Issuer, at_hash, encoded, part, private_key, public_jwk
from support.tally import ISSUER, METADATA, TOKENS, Tally

PROFILE = METADATA["userinfo_endpoint"]


@pytest.fixture
def issuer(tally: Tally) -> Issuer:
    return Issuer(tally)


Make = Callable[[Issuer, str], Any]


def changed(**changes: Any) -> Make:
    return lambda issuer, nonce: issuer.sign(issuer.claims(nonce, **changes))


def signed(**header: Any) -> Make:
    return lambda issuer, nonce: issuer.sign(issuer.claims(nonce), **header)


def later(seconds: int, name: str) -> Make:
    return lambda issuer, nonce: issuer.sign(issuer.claims(nonce, **{name: clock.now() + seconds}))


def unsigned(issuer: Issuer, nonce: str) -> str:
    return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': issuer.kid})}.{part(issuer.claims(nonce))}."


def with_the_public_key_as_secret(issuer: Issuer, nonce: str) -> str:
    """RFC 8725 section 2.1."""
    pem = private_key(issuer.kid).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    body = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': issuer.kid})}.{part(issuer.claims(nonce))}"
    return f"{body}.{encoded(hmac.digest(pem, body.encode(), 'sha256'))}"


def other_claims_under_the_signature(issuer: Issuer, nonce: str) -> str:
    head, _, signature = issuer.sign(issuer.claims(nonce)).split(".")
    return f"{head}.{part(issuer.claims(nonce, sub='usr_mallory'))}.{signature}"


def nested(issuer: Issuer, nonce: str) -> str:
    return issuer.sign(issuer.sign(issuer.claims(nonce)), cty="JWT")


_TEXTS = ("iss", "sub", "aud", "nonce")
_WHOLE = encoded(hashlib.sha256(TOKENS["access_token"].encode()).digest())

BAD: dict[str, tuple[Make, str]] = {
    "none at all": (lambda *_: None, "form"),
    "a number": (lambda *_: 5, "form"),
    "no JWT": (lambda *_: "b.a.d", "form"),
    "two parts": (lambda issuer, nonce: issuer.sign(issuer.claims(nonce)).rpartition(".")[0], "form"),
    "not ASCII": (lambda *_: "é.é.é", "form"),
    "oversized": (changed(more="x" * 20_000), "form"),
    "a header that is a list": (lambda issuer, nonce: f"{part([])}.{part(issuer.claims(nonce))}.AAAA", "form"),
    "a header without end": (lambda *_: f"{encoded(b'[' * 9000)}.e30.AAAA", "form"),
    "unsigned": (unsigned, "alg"),
    "HS256 with the public key": (with_the_public_key_as_secret, "alg"),
    "another algorithm of the issuer's": (signed(key="ES256-1"), "alg"),
    "an algorithm that is a number": (signed(alg=256), "alg"),
    "the header names another algorithm than its key's": (signed(key="ES256-1", alg="RS256"), "kid"),
    "an unpublished key": (signed(key="RS256-9"), "kid"),
    "a critical extension": (signed(crit=["b64"], b64=False), "header"),
    "another key under a published kid": (signed(key="RS256-9", kid="RS256-1"), "signature"),
    "changed": (other_claims_under_the_signature, "signature"),
    "an access token": (signed(typ="at+jwt"), "typ"),
    "a logout token": (signed(typ="logout+jwt"), "typ"),
    "a type that is a number": (signed(typ=7), "typ"),
    "a type that is a list": (signed(typ=[]), "typ"),
    "a type that is an object": (signed(typ={"JWT": "JWT"}), "typ"),
    "an algorithm that is a list": (signed(alg=["RS256"]), "alg"),
    "a key in its header": (signed(jwk=public_jwk("RS256-1")), "header"),
    "the address of a key set": (signed(jku=f"{ISSUER}/jwks"), "header"),
    "the address of a certificate": (signed(x5u=f"{ISSUER}/x5u"), "header"),
    "a certificate": (signed(x5c=["MII"]), "header"),
    "claims that are a list": (lambda issuer, _: issuer.sign([1]), "claims"),
    "claims without end": (lambda issuer, nonce: issuer.sign(issuer.claims(nonce) | {"exp": 10**400}), "claims"),
    "nested": (nested, "claims"),
    **{f"no {name}": (changed(**{name: None}), "claims") for name in (*_TEXTS, "exp", "iat")},
    **{f"{name} is a number": (changed(**{name: 7}), "claims") for name in (*_TEXTS, "at_hash", "azp")},
    **{f"{name} is a text": (changed(**{name: "9999999999"}), "claims") for name in ("exp", "iat", "nbf", "auth_time")},
    "exp is true": (changed(exp=True), "claims"),
    "exp is infinite": (changed(exp=float("inf")), "claims"),
    "iat is no number": (changed(iat=float("nan")), "claims"),
    "an empty sub": (changed(sub=""), "claims"),
    "a sub that is too long": (changed(sub="s" * 300), "claims"),
    "an audience that is a number": (changed(aud=["tally", 5]), "claims"),
    "no audience": (changed(aud=[]), "claims"),
    "another issuer": (changed(iss="http://evil.test"), "iss"),
    "an issuer with a slash more": (changed(iss=f"{ISSUER}/"), "iss"),
    "another audience": (changed(aud="other"), "aud"),
    "two audiences": (changed(aud=["tally", "other"]), "aud"),
    "another authorized party": (changed(azp="other"), "azp"),
    "expired": (later(-1, "exp"), "exp"),
    "from the future": (later(3600, "iat"), "iat"),
    "another nonce": (changed(nonce="another"), "nonce"),
    "a nonce beyond ASCII": (changed(nonce="é"), "nonce"),
    "a lone surrogate": (changed(sub="\ud800"), "claims"),
    "not valid yet": (later(3600, "nbf"), "nbf"),
    "a sign-in in the future": (later(3600, "auth_time"), "auth_time"),
    "another access token's hash": (changed(at_hash=at_hash("another")), "at_hash"),
    "the whole hash": (changed(at_hash=_WHOLE), "at_hash"),
}


@pytest.mark.parametrize(("make", "rule"), BAD.values(), ids=BAD.keys())
def test_a_bad_id_token_signs_nobody_in(tally: Tally, issuer: Issuer, make: Make, rule: str) -> None:
    """OpenID Connect Core sections 2, 3.1.3.7 and 3.1.3.8: only the check of the violated rule fails."""
    browser = tally.browser()
    asked = browser.begin("/sign-in")
    issuer.answer(make(issuer, asked["nonce"]))
    notebook = events.Notebook()
    with events.watching(notebook):
        page = browser.come_back(code="c0de", state=asked["state"], iss=ISSUER)
    assert page.status_code == 502
    assert "Tally rejected the ID token" in page.text
    assert id_token_check(rule).description in page.text.replace("&#39;", "'")
    failed = [fact["name"] for fact in noted(notebook) if not fact["passed"]]
    assert failed == [f"id_token.{rule}"]
    assert browser.client.get("/me").status_code == 403
    assert not tally.http.to(PROFILE)


def test_every_rule_has_a_token_that_breaks_it() -> None:
    rules = {f"id_token.{rule}" for _, rule in BAD.values()}
    assert rules == {check.name for check in checks.defined_in(id_token)}


def test_a_null_claim_counts_as_omitted(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    asked = browser.begin("/sign-in", "/")
    claims = issuer.claims(asked["nonce"]) | {"azp": None, "auth_time": None, "acr": None}
    issuer.answer(issuer.sign(claims))
    assert browser.come_back(code="c0de", state=asked["state"], iss=ISSUER).location == "/me"


def test_a_good_one_passes_every_rule_in_order(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    notebook = events.Notebook()
    with events.watching(notebook):
        assert issuer.sign_in(browser, aud=["tally"], azp=None, nbf=int(clock.now())).location == "/me"
    names = [fact["name"] for fact in noted(notebook) if fact["name"].startswith(("id_token", "client.userinfo"))]
    assert names == [
        *(check.name for check in checks.defined_in(id_token)),
        "client.userinfo_sub",
    ]
    assert "usr_alice" not in str(noted(notebook))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "PS256", "EdDSA"])
def test_each_algorithm_that_a_client_may_register(algorithm: str, tally: Tally) -> None:
    issuer = Issuer(tally, f"{algorithm}-1", published=["RS256-1", "ES256-1", "PS256-1", "EdDSA-1"])
    wanted = id_token.ExpectedClaims(ISSUER, "tally", algorithm, "n0nce", TOKENS["access_token"])
    token = issuer.sign(issuer.claims("n0nce"))
    keys = {kid: jwt.PyJWK(public_jwk(kid)) for kid in issuer.published}

    def find(kid: str | None, _algorithm: str) -> jwt.PyJWK | None:
        return keys.get(kid or "")

    assert id_token.validate(token, find, wanted)["sub"] == SUB
    for other in {"RS256", "ES256", "PS256", "EdDSA"} - {algorithm}:
        with pytest.raises(OAuthError):
            id_token.validate(token, find, dataclasses.replace(wanted, algorithm=other))


def id_token_check(rule: str) -> Any:
    return next(check for check in checks.defined_in(id_token) if check.name == f"id_token.{rule}")


def noted(notebook: events.Notebook) -> list[dict[str, Any]]:
    return [note for note in notebook.notes if note["kind"] == "check"]
