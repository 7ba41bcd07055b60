"""Bad input at the token endpoint: the RFC's error, no side effects, and no hint at which part was wrong."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import sqlalchemy as sa

from rolecall import clock
from support.auth_server import CALLBACK, ISSUER, SECRET, TALLY, VERIFIER, Server, a_client, basic, claims
from support.parallel import in_parallel

pytestmark = pytest.mark.database

BAD_CREDENTIALS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "none": ({}, {}),
    "unknown client": (basic("nobody", SECRET), {}),
    "wrong secret": (basic("tally", "wrong"), {}),
    "empty secret": (basic("tally", ""), {}),
    "not base64": ({"Authorization": "Basic /w==="}, {}),
    "not UTF-8": ({"Authorization": "Basic /w=="}, {}),
    "no colon": ({"Authorization": "Basic " + base64.b64encode(b"tally").decode()}, {}),
    "secret not ASCII": (basic("tally", "caf\u00e9"), {}),
    "another scheme": ({"Authorization": "Bearer x"}, {}),
    "method post where basic is registered": ({}, {"client_id": "tally", "client_secret": SECRET}),
    "method none where basic is registered": ({}, {"client_id": "tally"}),
}


@pytest.mark.parametrize(("headers", "form"), BAD_CREDENTIALS.values(), ids=BAD_CREDENTIALS.keys())
def test_failed_authentication_has_one_answer(server: Server, headers: Any, form: Any) -> None:
    """RFC 6749 section 5.2: 401 `invalid_client` with a challenge, and the same response for every cause.

    RFC 6749 section 3.2.1.
    """
    code = server.code()
    response = server.redeem(code, headers, **form)
    assert response.status_code == 401
    assert response.json == {"error": "invalid_client", "error_description": "Client authentication failed."}
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert server.redeem(code).status_code == 200, "the code was lost"


TWO_SECRETS: dict[str, dict[str, str]] = {
    "a second secret": {"client_id": "tally", "client_secret": SECRET},
    "a second secret alone": {"client_secret": SECRET},
    "another client id": {"client_id": "other"},
}


@pytest.mark.parametrize("form", TWO_SECRETS.values(), ids=TWO_SECRETS.keys())
def test_two_ways_of_authentication_are_refused(server: Server, form: dict[str, str]) -> None:
    """RFC 6749 section 2.3: MUST NOT use more than one method in each request."""
    code = server.code()
    response = server.redeem(code, TALLY, **form)
    assert response.status_code == 400
    assert response.json["error"] == "invalid_request"
    assert server.redeem(code, TALLY, client_id="tally").status_code == 200, "the same client ID is not a second method"


BAD_FORMS: dict[str, tuple[dict[str, str], str]] = {
    "no grant type": ({"grant_type": "-"}, "invalid_request"),
    "unknown grant type": ({"grant_type": "password"}, "unsupported_grant_type"),
    "grant type with a quote": ({"grant_type": '"'}, "unsupported_grant_type"),
    "no code": ({"code": "-"}, "invalid_request"),
    "unknown code": ({"code": "nonsense"}, "invalid_grant"),
    "code too long": ({"code": "x" * 201}, "invalid_grant"),
    "code with NUL": ({"code": "a\0b"}, "invalid_grant"),
    "code with a newline": ({"code": "a\nb"}, "invalid_grant"),
    "code not ASCII": ({"code": "\u00e9"}, "invalid_grant"),
    "no redirect URI": ({"redirect_uri": "-"}, "invalid_grant"),
    "redirect URI not ASCII": ({"redirect_uri": CALLBACK + "\u00e9"}, "invalid_grant"),
    "redirect URI off by one": ({"redirect_uri": CALLBACK + "x"}, "invalid_grant"),
    "no verifier": ({"code_verifier": "-"}, "invalid_request"),
    "wrong verifier": ({"code_verifier": "w" * 43}, "invalid_grant"),
    "short verifier": ({"code_verifier": "v" * 42}, "invalid_request"),
    "verifier with a newline at its end": ({"code_verifier": VERIFIER + "\n"}, "invalid_request"),
    "verifier not ASCII": ({"code_verifier": "\u00e9" * 43}, "invalid_request"),
    "another resource": ({"resource": "http://other.test"}, "invalid_target"),
}


@pytest.mark.parametrize(("changes", "error"), BAD_FORMS.values(), ids=BAD_FORMS.keys())
def test_bad_parameters_change_nothing(server: Server, changes: dict[str, str], error: str) -> None:
    """RFC 6749 section 5.2, RFC 7636 sections 4.5 and 4.6, RFC 8707 section 2.2."""
    code = server.code()
    response = server.redeem(code, TALLY, **changes)
    assert response.status_code == 400
    assert response.json["error"] == error
    assert response.headers["Cache-Control"] == "no-store"
    assert server.redeem(code).status_code == 200, "the code was lost"


def test_an_address_that_only_the_token_request_names_is_the_registered_one(server: Server) -> None:
    """RFC 6749 section 4.1.3: the authorization request may omit it if only one is registered."""
    browser = server.browser()
    browser.sign_in()
    code = browser.authorize(redirect_uri="-")["code"]
    refused = server.redeem(code, TALLY, redirect_uri=CALLBACK + "x")
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_grant")
    assert server.redeem(code, TALLY, redirect_uri=CALLBACK).status_code == 200, "the code was lost"


@pytest.mark.parametrize("name", ["grant_type", "code", "redirect_uri", "code_verifier", "client_id"])
def test_repeated_parameters_are_refused(server: Server, name: str) -> None:
    """RFC 6749 section 3.2."""
    code = server.code()
    body = f"grant_type=authorization_code&code={code}&redirect_uri={CALLBACK}&code_verifier={VERIFIER}"
    twice = f"{body}&{name}=a&{name}=b"
    headers = {**TALLY, "Content-Type": "application/x-www-form-urlencoded"}
    response = server.app.test_client().post("/token", data=twice, headers=headers)
    assert response.status_code == 400
    assert response.json["error"] == "invalid_request"
    assert server.redeem(code).status_code == 200


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
def test_only_forms_are_read(server: Server, content_type: str) -> None:
    """RFC 6749 section 3.2 with appendix B."""
    headers = {**TALLY, "Content-Type": content_type}
    response = server.app.test_client().post("/token", data=b'{"grant_type": 5}', headers=headers)
    assert response.status_code == 400
    assert response.json["error"] == "invalid_request"


def test_parameters_in_the_address_are_refused(server: Server) -> None:
    """RFC 6749 section 2.3.1: MUST NOT be included in the request URI."""
    code = server.code()
    assert server.post(f"/token?client_secret={SECRET}", TALLY, code=code).json["error"] == "invalid_request"


def test_a_code_used_by_another_client_is_not_lost(server: Server) -> None:
    """RFC 6749 section 4.1.3; the other client's attempt neither consumes the code nor ends its tokens."""
    server.add(a_client(client_id="other"))
    code = server.code()
    response = server.redeem(code, basic("other", SECRET))
    assert response.json["error"] == "invalid_grant"
    tokens = server.redeem(code).json
    assert server.redeem(code, basic("other", SECRET)).json["error"] == "invalid_grant"
    assert server.redeem(code, TALLY, code_verifier="w" * 43).json["error"] == "invalid_grant"
    assert server.is_active(tokens["access_token"])


def test_a_client_without_the_grant_is_refused(server: Server) -> None:
    server.add(a_client(client_id="none-such", grant_types=["refresh_token"]))
    response = server.redeem("x", basic("none-such", SECRET))
    assert response.json["error"] == "unauthorized_client"


def test_basic_is_form_urlencoded_within(server: Server) -> None:
    """RFC 6749 section 2.3.1: a plus encodes a space, and a percent sign a byte."""
    from rolecall.storage import digest

    server.add(a_client(client_id="odd id", secret_hash=digest("a+b c%d:e" + "x" * 20)))
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    good = server.post("/token", basic("odd+id", "a%2Bb+c%25d%3Ae" + "x" * 20), **form)
    assert good.json["error"] == "invalid_grant"
    bad = server.post("/token", basic("odd+id", "a+b c%d:e" + "x" * 20), **form)
    assert bad.json["error"] == "invalid_client"


def test_public_and_post_clients_authenticate_as_registered(server: Server) -> None:
    """RFC 6749 sections 2.1 and 2.2: with their identifier, and with their secret, if any."""
    server.add(
        a_client(client_id="poster", token_endpoint_auth_method="client_secret_post"),
        a_client(client_id="public", token_endpoint_auth_method="none", secret_hash=None),
    )
    code = server.code(client_id="poster")
    assert server.redeem(code, basic("poster", SECRET)).json["error"] == "invalid_client"
    assert server.redeem(code, {}, client_id="poster", client_secret=SECRET).status_code == 200
    code = server.code(client_id="public")
    assert server.redeem(code, {}, client_id="public", client_secret=SECRET).json["error"] == "invalid_client"
    assert server.redeem(code, {}, client_id="public").status_code == 200


def test_a_code_expires_on_the_clock(server: Server) -> None:
    code = server.code()
    clock.set_offset(61)
    assert server.redeem(code).json["error"] == "invalid_grant"
    clock.set_offset(0)
    assert server.redeem(code).status_code == 200, "the late attempt consumed the code"


@pytest.mark.parametrize("later", [0, 61, 86400], ids=["at once", "after its expiry", "a day later"])
def test_a_replayed_code_ends_everything_it_gave(server: Server, later: float) -> None:
    """RFC 6749 section 4.1.2: deny, and revoke all tokens previously issued."""
    code = server.code()
    tokens = server.redeem(code).json
    assert server.is_active(tokens["access_token"])
    clock.set_offset(later)
    response = server.redeem(code).json
    clock.set_offset(0)
    assert response["error"] == "invalid_grant"
    assert "already used" in response["error_description"]
    assert not server.is_active(tokens["access_token"])
    assert server.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"


def test_a_replay_is_noticed_when_redis_has_lost_the_code(server: Server) -> None:
    """RFC 6749 section 4.1.2; only the client to which the code was issued can end its authorization this way."""
    code = server.code()
    tokens = server.redeem(code).json
    server.add(a_client(client_id="public", token_endpoint_auth_method="none", secret_hash=None))
    server.services.codes._store.delete("code", code)
    assert server.redeem(code, {}, client_id="public").json["error"] == "invalid_grant"
    assert server.is_active(tokens["access_token"])
    assert "already used" in server.redeem(code).json["error_description"]
    assert not server.is_active(tokens["access_token"])


def test_an_unused_code_is_forgotten_soon(server: Server) -> None:
    """Otherwise, one account could fill Redis with codes that nobody redeems."""
    server.code()
    [name] = server.redis_keys("code:*")
    settings = server.services.settings
    assert server.services.store.client.ttl(name) <= settings.code_lifetime + settings.keep_expired


def test_a_failure_to_read_the_keys_does_not_use_up_the_code(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    code = server.code()

    def fail(*_arguments: object) -> None:
        raise sa.exc.OperationalError("SELECT", None, Exception("gone"))

    with monkeypatch.context() as broken:
        broken.setattr(server.services.keys, "_active", fail)
        assert server.redeem(code).status_code == 503
    assert server.redeem(code).status_code == 200


def test_32_parallel_redemptions_leave_nothing_active(server: Server) -> None:
    """At most one response is 200, the others are `invalid_grant`, and afterwards no token of the code is active."""
    for _ in range(3):
        code = server.code()
        answers = in_parallel(32, lambda code=code: server.redeem(code))
        good = [answer.json for answer in answers if answer.status_code == 200]
        assert len(good) <= 1
        rest = [answer for answer in answers if answer.status_code != 200]
        assert {(answer.status_code, answer.json["error"]) for answer in rest} == {(400, "invalid_grant")}
        for tokens in good:
            assert not server.is_active(tokens["access_token"])
            assert server.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"


def test_the_token_is_an_rfc_9068_access_token(server: Server) -> None:
    """RFC 9068 section 2.2."""
    tokens = server.tokens(scope="profile invoices:read")
    token = claims(tokens["access_token"])
    assert token.keys() >= {"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope", "auth_time"}
    assert token["iss"] == ISSUER
    assert token["scope"] == tokens["scope"] == "invoices:read profile"
