"""Tally signs people in: what it asks for, every rule that an ID token can break, and what being signed in is."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from werkzeug.test import TestResponse

from rolecall import checks, clock, events
from rolecall.errors import OAuthError
from rolecall.http import Unreachable
from rolecall_client import id_token
from support.openid_provider import SUB, USERINFO, Issuer, at_hash, encoded, part, private_key, public_jwk
from support.tally import API, ISSUER, METADATA, TOKENS, Tally

TOKEN, JWKS, PROFILE = METADATA["token_endpoint"], METADATA["jwks_uri"], METADATA["userinfo_endpoint"]


@pytest.fixture
def issuer(tally: Tally) -> Issuer:
    return Issuer(tally)


def test_the_request_and_what_follows(tally: Tally, issuer: Issuer) -> None:
    """OpenID Connect Core sections 3.1.2.1, 3.1.3.1 and 5.3.1."""
    browser = tally.browser()
    first, second = browser.begin("/sign-in"), browser.begin("/sign-in")
    assert first["scope"] == "openid profile email"
    assert "resource" not in first
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
    assert first["nonce"] != first["state"]
    issuer.answer(issuer.sign(issuer.claims(first["nonce"])))
    answer = browser.come_back(code="c0de", state=first["state"], iss=ISSUER)
    assert (answer.status_code, answer.location) == (303, "/me")
    [(method, _, headers, form)] = tally.http.to(PROFILE)
    assert (method, form, headers["Authorization"]) == ("GET", {}, f"Bearer {TOKENS['access_token']}")
    assert len(tally.http.to(TOKEN)) == len(tally.http.to(JWKS)) == 1


def test_the_page_says_who_and_how_tally_knows(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    assert issuer.sign_in(browser).location == "/me"
    page = browser.client.get("/me").text
    assert "Alice &lt;b&gt;Liddell" in page
    assert page.count(f"<bdi>{SUB}</bdi>") == 2, "side by side"
    for said in ("auth_time", "at_hash", "alice@wonderland.test", "Connected is not signed in", "not now"):
        assert said in page
    assert "eyJ" not in page
    assert TOKENS["access_token"] not in page
    assert 'href="/me"' in browser.client.get("/").text
    assert 'id="sign-in"' not in browser.client.get("/").text
    policy = browser.client.get("/me").headers["Content-Security-Policy"]
    assert "form-action" not in policy, "the authorization endpoint may be on any host (RFC 8414 section 2)"
    assert "unsafe-inline" not in policy


def test_strange_claims_are_shown_as_text(tally: Tally, issuer: Issuer) -> None:
    issuer.userinfo = {"sub": SUB, "name": ["x"], "updated_at": 1e300, "address": {"a": 1}, "n": None, "email": True}
    browser = tally.browser()
    assert issuer.sign_in(browser, further={"deep": [1]}, acr=5).location == "/me"
    assert browser.client.get("/me").status_code == 200


# --- every rule

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


_TEXTS = ("iss", "sub", "aud", "nonce", "at_hash")
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
    "a key that nobody published": (signed(key="RS256-9"), "kid"),
    "a kid that is a number": (signed(kid=7), "form"),
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
    **{f"{name} is a number": (changed(**{name: 7}), "claims") for name in (*_TEXTS, "azp")},
    **{f"{name} is a text": (changed(**{name: "9999999999"}), "claims") for name in ("exp", "iat", "auth_time")},
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
    "a nonce beyond ASCII": (changed(nonce="\ud800é"), "nonce"),
    "another access token's hash": (changed(at_hash=at_hash("another")), "at_hash"),
    "the whole hash": (changed(at_hash=_WHOLE), "at_hash"),
}


@pytest.mark.parametrize(("make", "rule"), BAD.values(), ids=BAD.keys())
def test_a_bad_id_token_signs_nobody_in(tally: Tally, issuer: Issuer, make: Make, rule: str) -> None:
    """OpenID Connect Core sections 2, 3.1.3.7 and 3.1.3.8: the rule that it breaks refuses it, and no other."""
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
    rules = {f"id_token.{rule}" for _, rule in BAD.values()} | {"id_token.auth_time"}
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
        assert issuer.sign_in(browser, aud=["tally"], azp=None).location == "/me"
    names = [fact["name"] for fact in noted(notebook) if fact["name"].startswith(("id_token", "client.userinfo"))]
    assert names == [
        *(check.name for check in checks.defined_in(id_token) if check.name != "id_token.auth_time"),
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


# --- keys


def test_keys_are_kept_and_fetched_again_for_an_unknown_one_but_not_for_each(tally: Tally, issuer: Issuer) -> None:
    """RFC 7517 section 5, and whoever sends strange ids shall not make Tally hammer the server."""
    browser = tally.browser()
    for _ in range(3):
        assert issuer.sign_in(browser).location == "/me"
    assert len(tally.http.to(JWKS)) == 1
    issuer.kid, issuer.published = "RS256-2", ["RS256-1", "RS256-2"]
    assert issuer.sign_in(browser).status_code == 502
    assert len(tally.http.to(JWKS)) == 1
    clock.set_offset(6)
    assert issuer.sign_in(browser).location == "/me"
    for _ in range(3):
        issuer.kid = "RS256-9"
        assert issuer.sign_in(browser).status_code == 502
    assert len(tally.http.to(JWKS)) == 2
    issuer.kid = "RS256-1"
    clock.set_offset(400)
    assert issuer.sign_in(browser).location == "/me"
    assert len(tally.http.to(JWKS)) == 3


def test_an_id_token_without_a_kid_needs_a_single_key(tally: Tally, issuer: Issuer) -> None:
    """OpenID Connect Core section 10.1, RFC 7517 section 4.5."""

    def sign_in() -> TestResponse:
        browser = tally.browser()
        asked = browser.begin("/sign-in")
        issuer.answer(issuer.sign(issuer.claims(asked["nonce"]), kid=None))
        return browser.come_back(code="c0de", state=asked["state"], iss=ISSUER)

    assert sign_in().location == "/me"
    issuer.published = ["RS256-1", "RS256-2"]
    clock.set_offset(400)
    assert sign_in().status_code == 502


def test_keys_that_cannot_be_used_spoil_no_other(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    asked = browser.begin("/sign-in")
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"])))
    strange = [5, {}, {"kid": "x", "alg": "RS256"}, {"kid": "y", "alg": "RS256", "kty": "RSA", "n": 5, "e": []}]
    secret = {"kid": "RS256-1", "alg": "HS256", "kty": "oct", "k": "c2VjcmV0"}
    tally.http.answers[JWKS] = (200, {"keys": [*strange, public_jwk("RS256-1"), secret]}, {})
    assert browser.come_back(code="c0de", state=asked["state"], iss=ISSUER).location == "/me"


@pytest.mark.parametrize("answer", [(200, [], {}), (200, {}, {}), (503, "", {}), None, Unreachable(JWKS, "too slow")])
def test_without_keys_nobody_is_signed_in(tally: Tally, issuer: Issuer, answer: Any) -> None:
    browser = tally.browser()
    asked = browser.begin("/sign-in")
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"])))
    tally.http.answers[JWKS] = answer
    page = browser.come_back(code="c0de", state=asked["state"], iss=ISSUER)
    assert page.status_code == 503
    assert "is not responding" in page.text
    assert browser.client.get("/me").status_code == 403


# --- userinfo, errors, form_post


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, {**USERINFO, "sub": "usr_bob"}, {}), "about different users"),
        ((200, {"name": "Alice"}, {}), "about different users"),
        ((200, [], {}), "about different users"),
        ((401, {"error": "invalid_token"}, {}), "invalid_token"),
        ((500, "", {}), "server_error"),
        (None, "is not responding"),
    ],
)
def test_userinfo_of_somebody_else_signs_nobody_in(tally: Tally, issuer: Issuer, answer: Any, says: str) -> None:
    """OpenID Connect Core section 5.3.2."""
    browser = tally.browser()
    asked = browser.begin("/sign-in")
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"])))
    tally.http.answers[PROFILE] = answer
    page = browser.come_back(code="c0de", state=asked["state"], iss=ISSUER)
    assert page.status_code in {502, 503}
    assert says in page.text
    assert browser.client.get("/me").status_code == 403


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        ("login_required", 403, "You need to sign in"),
        ("consent_required", 403, "Your consent is required"),
        ("access_denied", 403, "You denied access"),
        ("interaction_required", 502, "interaction_required"),
    ],
)
def test_what_the_server_refuses_leaves_the_sign_in_as_it_is(
    tally: Tally, issuer: Issuer, error: str, status: int, says: str
) -> None:
    browser = tally.browser()
    issuer.sign_in(browser)
    asked = browser.begin("/sign-in", "/me", again="silent")
    assert asked["prompt"] == "none"
    page = browser.come_back(error=error, state=asked["state"], iss=ISSUER)
    assert page.status_code == status
    assert says in page.text
    assert browser.client.get("/me").status_code == 200


def test_mixed_up_answers_are_refused_here_too(tally: Tally) -> None:
    """RFC 9207 section 2.4."""
    browser = tally.browser()
    state = browser.begin("/sign-in")["state"]
    page = browser.come_back(code="c0de", state=state, iss="http://evil.test")
    assert "comes from another server" in page.text
    assert not tally.http.to(TOKEN)


@pytest.mark.parametrize(
    ("again", "asks", "age", "good"),
    [
        ("login", {"prompt": "login", "max_age": "0"}, 0, True),
        ("login", {"prompt": "login", "max_age": "0"}, 30, False),
        ("recent", {"max_age": "60"}, 50, True),
        ("recent", {"max_age": "60"}, 90, False),
        ("silent", {"prompt": "none"}, 90_000, True),
        ("", {}, 90_000, True),
        ("nonsense", {}, 90_000, True),
    ],
)
def test_a_sign_in_that_is_older_than_was_asked_for_is_refused(
    tally: Tally, issuer: Issuer, again: str, asks: dict[str, str], age: int, good: bool
) -> None:
    """OpenID Connect Core section 3.1.2.1: a server that ignores max_age is found out."""
    browser = tally.browser()
    asked = browser.begin("/sign-in", again=again)
    assert {name: asked[name] for name in ("prompt", "max_age") if name in asked} == asks
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"], auth_time=int(clock.now()) - age)))
    page = browser.come_back(code="c0de", state=asked["state"], iss=ISSUER)
    assert page.status_code == (303 if good else 502)
    if not good:
        assert "older than the requested maximum age" in page.text


def test_max_age_needs_an_auth_time(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    assert issuer.sign_in(browser, auth_time=None).location == "/me"
    asked = browser.begin("/sign-in", again="recent")
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"], auth_time=None)))
    assert browser.come_back(code="c0de", state=asked["state"], iss=ISSUER).status_code == 502


def test_an_answer_that_comes_as_a_form_is_taken_by_the_browser_that_asked(tally: Tally, issuer: Issuer) -> None:
    """OAuth 2.0 Form Post Response Mode section 2: such a form brings no Lax cookie."""
    browser, elsewhere = tally.browser(), tally.app.test_client()
    asked = browser.begin("/sign-in")
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"])))
    answer = {"code": "c0de", "state": asked["state"], "iss": ISSUER}
    posted = elsewhere.post("/callback", data=answer)
    assert posted.status_code == 303
    assert "c0de" not in posted.location
    assert not tally.http.to(TOKEN), "nothing happens without the cookie"
    another = tally.browser().client.get(posted.location)
    assert another.status_code == 400, "and it takes nothing from the browser that asked"
    assert browser.client.get(posted.location).location == "/me"
    assert browser.client.get(posted.location).status_code == 400


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({}, 400),
        ({"code": "c", "state": "nobody's", "iss": ISSUER}, 400),
        ({"code": ["c", "d"], "state": "x", "iss": ISSUER}, 400),
    ],
)
def test_a_form_that_answers_nothing_is_not_kept(tally: Tally, answer: dict[str, Any], status: int) -> None:
    assert tally.app.test_client().post("/callback", data=answer).status_code == status
    assert not [key for key in tally.services.store.client.keys("*") if b"posted" in key]


# --- the session


def test_sign_in_begins_a_session_of_its_own(tally: Tally, issuer: Issuer) -> None:
    """OWASP ASVS 7.2.4: what somebody knew before is worth nothing after it."""
    browser, thief = tally.browser(), tally.browser()
    issuer.sign_in(browser)
    first = browser.client.get_cookie(tally.cookie_name)
    issuer.sign_in(browser)
    assert first is not None
    thief.client.set_cookie(tally.cookie_name, first.value)
    assert thief.client.get("/me").status_code == 403


def test_what_is_known_is_sealed_and_absent_from_cookie_and_log(
    tally: Tally, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = tally.browser()
    issuer.sign_in(browser)
    redis = tally.services.store.client
    raw = b" ".join(key + redis.get(key) for key in redis.keys("*"))
    cookie = browser.client.get_cookie(tally.cookie_name)
    assert cookie is not None
    seen = raw.decode("latin-1") + cookie.value + capsys.readouterr().out
    for secret in (TOKENS["access_token"], "alice@wonderland.test", "c0de"):
        assert secret not in seen


def test_connected_and_signed_in_are_two_things(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    browser.connect()
    assert browser.client.get("/me").status_code == 403
    issuer.sign_in(browser)
    tally.http.answers[TOKEN] = (200, TOKENS, {})
    assert ">yes</span>" in browser.client.get("/me").text
    assert browser.client.get("/invoices").status_code == 200
    assert tally.http.to(f"{API}/invoices")
    assert browser.press("/sign-out", "/me").location == "/"
    assert "still signed in" in browser.client.get("/").text
    assert browser.client.get("/me").status_code == 403
    assert browser.client.get("/invoices").status_code == 200
    assert browser.press("/sign-out").location == "/", "nobody is signed in"


def test_somebody_else_does_not_find_the_others_connection(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    browser.connect()
    issuer.sign_in(browser)
    issuer.userinfo = {"sub": "usr_bob"}
    issuer.sign_in(browser, "/me", sub="usr_bob")
    assert "usr_bob" in browser.client.get("/me").text
    [(_, _, _, given_back)] = tally.http.to(METADATA["revocation_endpoint"])
    assert given_back["token"] == TOKENS["refresh_token"]
    assert browser.client.get("/invoices").status_code == 403


def test_a_sign_in_ends_with_its_session(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    issuer.sign_in(browser)
    clock.set_offset(12 * 3600 + 1)
    assert browser.client.get("/me").status_code == 403


def test_every_form_needs_its_token(tally: Tally, issuer: Issuer) -> None:
    browser = tally.browser()
    issuer.sign_in(browser)
    for path in ("/sign-in", "/sign-out"):
        assert browser.client.post(path).status_code == 400
    assert browser.client.get("/me").status_code == 200


def id_token_check(rule: str) -> Any:
    return next(check for check in checks.defined_in(id_token) if check.name == f"id_token.{rule}")


def noted(notebook: events.Notebook) -> list[dict[str, Any]]:
    return [note for note in notebook.notes if note["kind"] == "check"]
