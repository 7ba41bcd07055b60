"""Sign-in to Tally: the authentication request, keys, userinfo, errors, and the session."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.http import Unreachable
from support.openid_provider import SUB, USERINFO, Issuer, public_jwk
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


# --- keys


def test_keys_are_kept_and_fetched_again_for_an_unknown_one_but_not_for_each(tally: Tally, issuer: Issuer) -> None:
    """RFC 7517 section 5; ID tokens with unknown key IDs must not make Tally flood the server with requests."""
    browser = tally.browser()
    for _ in range(3):
        assert issuer.sign_in(browser).location == "/me"
    assert len(tally.http.to(JWKS)) == 1
    issuer.kid, issuer.published = "RS256-2", ["RS256-1", "RS256-2"]
    assert issuer.sign_in(browser).location == "/me", "the first time immediately (OpenID Connect Core 10.1.1)"
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
    invalid = isinstance(answer, tuple) and answer[0] == 200
    assert page.status_code == (502 if invalid else 503)
    assert ("sent an invalid response" if invalid else "is not responding") in page.text
    assert browser.client.get("/me").status_code == 403


# --- userinfo, errors, form_post


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, {**USERINFO, "sub": "usr_bob"}, {}), "about different users"),
        ((200, {"name": "Alice"}, {}), "The userinfo response is invalid"),
        ((200, [], {}), "The userinfo response is invalid"),
        ((401, {"error": "invalid_token"}, {}), "invalid_token"),
        ((500, "", {}), "status 500 without an error code"),
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
        ("interaction_required", 403, "You need to visit"),
        ("account_selection_required", 403, "You need to visit"),
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


def test_only_the_same_user_can_prove_it_again(tally: Tally, issuer: Issuer) -> None:
    """OpenID Connect Core section 3.1.2.1: `id_token_hint` names the user, and another one is not accepted."""
    browser = tally.browser()
    issuer.sign_in(browser)
    for again in ("login", "recent", "silent"):
        asked = browser.begin("/sign-in", "/me", again=again)
        assert jwt.decode(asked["id_token_hint"], options={"verify_signature": False})["sub"] == SUB
        issuer.userinfo = {"sub": "usr_bob"}
        issuer.answer(issuer.sign(issuer.claims(asked["nonce"], sub="usr_bob")))
        page = browser.come_back(code="c0de", state=asked["state"], iss=ISSUER)
        assert page.status_code == 403
        assert "Another user signed in" in page.text
        assert SUB in browser.client.get("/me").text
    assert "id_token_hint" not in browser.begin("/sign-in", "/me", again="choose")
    issuer.sign_in(browser, "/me", sub="usr_bob")
    assert "usr_bob" in browser.client.get("/me").text


def test_a_provider_without_userinfo_and_revocation(tally: Tally, issuer: Issuer) -> None:
    """OpenID Connect Discovery section 3, RFC 8414 section 2: both endpoints are optional, as is `at_hash`."""
    document = {name: value for name, value in METADATA.items() if name not in _OPTIONAL}
    tally.http.answers[f"{ISSUER}/.well-known/oauth-authorization-server"] = (404, "", {})
    tally.http.answers[f"{ISSUER}/.well-known/openid-configuration"] = (200, document, {})
    browser = tally.browser()
    asked = browser.begin("/sign-in")
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"], at_hash=None), kid=None))
    tally.http.answers[JWKS] = (200, {"keys": [without_alg(public_jwk(kid)) for kid in issuer.published]}, {})
    assert browser.come_back(code="c0de", state=asked["state"]).location == "/me"
    assert "has no userinfo endpoint" in browser.client.get("/me").text
    tally.http.answers[TOKEN] = (200, TOKENS, {})
    assert browser.come_back(code="c0de", state=browser.begin()["state"]).location == "/invoices"
    page = browser.press("/revoke", "/invoices")
    assert (page.status_code, "cannot revoke tokens" in page.text) == (501, True)
    assert browser.press("/disconnect", "/invoices").location == "/"
    assert "could not revoke them" in browser.client.get("/").text
    assert browser.client.get("/invoices").status_code == 403


_OPTIONAL = ("userinfo_endpoint", "revocation_endpoint", "authorization_response_iss_parameter_supported")


def without_alg(jwk: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in {"alg", "kid", "use"}}


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
    """OpenID Connect Core section 3.1.2.1: Tally detects that a server ignored `max_age`."""
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
    """OAuth 2.0 Form Post Response Mode section 2: the browser sends no Lax cookie with such a form."""
    browser, elsewhere = tally.browser(), tally.app.test_client()
    asked = browser.begin("/sign-in")
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"])))
    answer = {"code": "c0de", "state": asked["state"], "iss": ISSUER}
    posted = elsewhere.post("/callback", data=answer)
    assert posted.status_code == 303
    assert "c0de" not in posted.location
    assert not tally.http.to(TOKEN), "the code was redeemed without the cookie"
    another = tally.browser().client.get(posted.location)
    assert another.status_code == 400, "another browser could continue the flow"
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
    """OWASP ASVS 7.2.4: the cookie of the earlier session is not valid after the sign-in."""
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
    assert "may still be signed in" in browser.client.get("/").text
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
