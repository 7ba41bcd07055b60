"""Fuzz tests of the OpenID Provider: authentication requests, request objects, assertions, and userinfo tokens."""

from __future__ import annotations

import json
import urllib.parse
from collections import Counter
from random import Random
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from rolecall_lab.walker import Page
from support.auth_server import CALLBACK, CHALLENGE, ISSUER, Server, authorize_url, query
from support.auth_server import claims as claims_of
from support.fuzz import jwts
from support.fuzz.effort import examples
from support.fuzz.forms import body_of, forms, in_address, look_at, parsed
from support.fuzz.twists.credentials import hostile_token
from support.openid import ASKED, tokens
from support.openid import CALLBACK as RP_CALLBACK
from support.signing import claims as assertion_claims
from support.signing import is_in, is_refused, jwk, now, present

pytestmark = pytest.mark.usefixtures("cheap_passwords")

GOOD = {
    **query(authorize_url(**ASKED)), "scope": "openid profile", "nonce": "n0nce", "max_age": "3600",
    "login_hint": "alice", "acr_values": "0 1", "id_token_hint": "{id_token}", "response_mode": "query",
    "claims": '{"userinfo":{"email":{"essential":true}},"id_token":{"acr":{"values":["0"]}}}',
}  # fmt: skip
REQUESTS = (
    forms(GOOD) | forms({**GOOD, "prompt": "none"}) | forms({**GOOD, "prompt": "login consent"})
    | forms({**GOOD, "response_mode": "form_post", "prompt": "none"})
)  # fmt: skip
ERRORS = {
    "invalid_request", "invalid_scope", "invalid_target", "unauthorized_client", "unsupported_response_type",
    "access_denied", "login_required", "consent_required", "interaction_required", "account_selection_required",
    "invalid_request_object", "invalid_request_uri",
}  # fmt: skip


def test_authentication_requests(open_server: Server) -> None:
    """OpenID Connect Core section 3.1.2: prompt=none shows no page, and each response goes to the redirect URI."""
    hint = tokens(open_server, scope="openid profile email")["id_token"]  # Alice has now allowed these scopes

    @settings(max_examples=examples(40))
    @given(form=REQUESTS, method=st.sampled_from(["GET", "GET", "POST"]), signed_in=st.booleans())
    def check(form: bytes, method: str, signed_in: bool) -> None:
        form = form.replace(b"%7Bid_token%7D", hint.encode())
        browser = open_server.browser()
        if signed_in:
            browser.sign_in()
        sent = in_address(form) if method == "GET" else body_of(form)
        answer = browser.client.open("/authorize", method=method, **sent)
        look_at(answer, RP_CALLBACK)
        assert answer.status_code in {200, 303, 400, 413}
        named = parsed(form)
        told = _told(answer)
        if told is None:
            silent = named.get("prompt") == ["none"] and method == "GET" and "interaction" not in named
            assert answer.status_code >= 400 or not silent, "prompt=none showed a page"
            return
        assert told["iss"] == ISSUER
        assert ("code" in told) != ("error" in told)
        if "error" in told:
            assert told["error"] in ERRORS
        else:
            assert signed_in
            assert {"login", "consent", "select_account"}.isdisjoint(named.get("prompt", [""])[0].split())

    check()


def _told(answer: TestResponse) -> dict[str, str] | None:
    """Return the parameters sent to the client in a URL or a form, or None if it gets no response."""
    if answer.status_code == 200:
        assert f'<form method="post" action="{RP_CALLBACK}" id="answer">' in answer.text
        return Page("", 200, None, answer.text).hidden()
    if answer.status_code != 303 or answer.location.startswith("/"):
        return None
    assert answer.location.partition("?")[0] == RP_CALLBACK
    return query(answer.location)


def _is_text(body: bytes) -> bool:
    """Return whether a body is UTF-8; otherwise, the servers read no parameters from it."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


RANDOM = st.randoms(use_true_random=False)


def _signed_by_the_client(token: str, types: set[str]) -> dict[str, Any]:
    """Return the claims after a check of the signature with a library that the server does not use."""
    header = jwt.get_unverified_header(token)
    assert header["typ"].lower() in {"jwt", *types} if "typ" in header else True
    assert not header.keys() & {"jku", "jwk", "x5u", "x5c", "crit", "b64", "cty", "enc", "zip"}
    key = jwt.PyJWK(jwk(header["alg"]), algorithm=header["alg"])
    unjudged = {f"verify_{name}": False for name in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}
    return dict(jwt.decode(token, key, [header["alg"]], options=unjudged))


def test_request_objects(open_server: Server) -> None:
    """RFC 9101 sections 4, 6 and 10, RFC 8725: an object that the client did not sign is rejected."""
    seen: Counter[str] = Counter()

    @settings(max_examples=examples(50))
    @given(random=RANDOM, method=st.sampled_from(["GET", "GET", "POST"]))
    def check(random: Random, method: str) -> None:
        asked = {"response_type": "code", "redirect_uri": CALLBACK, "scope": "invoices:read", "state": "within"}
        asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        claims = {"iss": "signer", "aud": ISSUER, "exp": now() + 600, "client_id": "signer", **asked}
        token = jwts.hostile(random, claims, "oauth-authz-req+jwt")
        form = {"client_id": "signer", "redirect_uri": CALLBACK, "state": "outer", "request": token}
        sent: dict[str, Any] = {"query_string": form} if method == "GET" else {"data": form}
        answer = open_server.app.test_client().open("/authorize", method=method, **sent)
        look_at(answer)
        assert answer.status_code in {303, 400, 413}, answer.text
        error = query(answer.location).get("error", "") if answer.status_code == 303 else "page"
        seen[error] += 1
        if error:
            assert error in {*ERRORS, "page"}
            return
        assert answer.location.startswith("/"), "nobody is signed in"
        said = _signed_by_the_client(token, {"oauth-authz-req+jwt", "application/oauth-authz-req+jwt"})
        assert said["iss"] == "signer"
        assert said.get("client_id", "signer") == "signer"
        assert ISSUER in (said["aud"] if isinstance(said["aud"], list) else [said["aud"]])
        assert said["exp"] > now() - 5
        assert not {"request", "request_uri"} & said.keys()
        # a parameter without a value counts as omitted (RFC 6749 section 3.1)
        assert (said.get("redirect_uri") or CALLBACK) == CALLBACK

    check()
    assert seen[""], seen
    assert seen["invalid_request_object"], seen


def test_assertions(open_server: Server) -> None:
    """RFC 7523 section 3, RFC 8725: only the client can authenticate as itself, and only once per assertion."""
    seen: Counter[str] = Counter()
    used = set()

    @settings(max_examples=examples(50))
    @given(random=RANDOM, path=st.sampled_from(["/token", "/token", "/revoke"]), again=st.booleans())
    def check(random: Random, path: str, again: bool) -> None:
        assertion = jwts.hostile(random, assertion_claims("signer"), "client-authentication+jwt")
        for _ in range(1 + again):
            answer = present(open_server, assertion, path)
            look_at(answer)
            if is_refused(answer):
                seen["refused"] += 1
            elif answer.status_code in {400, 413} and not is_in(answer):
                assert json.loads(answer.data)["error"] == "invalid_request"
                seen["malformed"] += 1
            else:
                assert is_in(answer) if path == "/token" else answer.status_code == 200
                said = _signed_by_the_client(assertion, {"client-authentication+jwt"})
                assert (said["iss"], said["sub"], said["aud"]) == ("signer", "signer", ISSUER)
                assert now() - 5 < said["exp"] < now() + 3700
                assert said["jti"] not in used
                used.add(said["jti"])
                seen["in"] += 1

    check()
    assert seen["in"], seen
    assert seen["refused"], seen


def test_userinfo(open_server: Server) -> None:
    """OpenID Connect Core section 5.3, RFC 6750 sections 2 and 3.1: one valid token with `openid`, or a challenge."""
    good = tokens(open_server, scope="openid profile")["access_token"]
    narrow = open_server.tokens()["access_token"]

    @settings(max_examples=examples(50))
    @given(
        random=RANDOM,
        which=st.sampled_from(["good", "good", "narrow", "hostile", "hostile", "made"]),
        scheme=st.sampled_from(["Bearer ", "Bearer ", "bearer ", "Bearer  ", "Basic ", "Bearer", ""]),
        places=st.sets(st.sampled_from(["header", "body", "address"])),
        form=forms({"access_token": "{token}"}),
        method=st.sampled_from(["GET", "POST", "POST"]),
        content_type=st.sampled_from(["application/x-www-form-urlencoded"] * 4 + ["application/json", "", "é"]),
    )
    def check(
        random: Random, which: str, scheme: str, places: set[str], form: bytes, method: str, content_type: str
    ) -> None:  # fmt: skip
        token = {"good": good, "narrow": narrow}.get(which, "")
        if which == "made":
            token = jwts.hostile(random, claims_of(good), "at+jwt")
        elif which == "hostile":
            token = hostile_token(random, good.encode()).decode("latin-1")
        environ = {"QUERY_STRING": f"access_token={urllib.parse.quote(token)}" if "address" in places else ""}
        if "header" in places:
            environ["HTTP_AUTHORIZATION"] = scheme + token.replace("\n", "")
        body = form.replace(b"%7Btoken%7D", urllib.parse.quote_plus(token).encode()) if "body" in places else b""
        sent = body_of(body, content_type) if method == "POST" else {}
        answer = open_server.app.test_client().open("/userinfo", method=method, environ_overrides=environ, **sent)
        look_at(answer)
        assert answer.headers["Cache-Control"] == "no-store"
        if answer.status_code == 200:
            is_form = method == "POST" and content_type.startswith("application/x-www-form") and _is_text(body)
            in_body = parsed(body).get("access_token", []) if is_form else []
            in_header = [token.strip()] if "header" in places and scheme.lower().startswith("bearer ") else []
            assert in_body + in_header == [good]
            assert json.loads(answer.data)["sub"] == open_server.ids["alice"]
            return
        assert answer.status_code in {400, 401, 403, 413, 415}
        if answer.status_code in {401, 403}:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert good not in answer.text
        expected = {401: {"invalid_token", None}, 403: {"insufficient_scope"}}.get(answer.status_code)
        assert expected is None or json.loads(answer.data).get("error") in expected
        if answer.status_code == 403:
            assert narrow in {token.strip(), *parsed(body).get("access_token", [])}

    check()
