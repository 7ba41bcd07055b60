"""Parameters that control the sign-in, and the response modes (OpenID Connect Core 3.1.2)."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from rolecall import clock
from rolecall_auth.models.client import Client
from support.auth_server import ISSUER, Browser, Server, authorize_url, csrf_token, query
from support.openid import ASKED, CALLBACK, relying_party, tokens, verified, with_claims


@pytest.fixture
def op(server: Server) -> Server:
    with_claims(server)
    server.add(relying_party())
    return server


@pytest.fixture
def alice(op: Server) -> Browser:
    """Return Alice's browser, in which she is signed in and has allowed the relying party `openid`."""
    browser = op.browser()
    browser.sign_in()
    browser.authorize(**ASKED)
    return browser


def silent(browser: Browser, **changes: str) -> dict[str, str]:
    response = browser.request(**ASKED, prompt="none", **changes)
    assert response.location.startswith(CALLBACK), response.location
    answer = query(response.location)
    assert answer["iss"] == ISSUER
    assert answer["state"] == "st4te"
    return answer


def test_prompt_none_with_a_session_and_a_consent_is_silent(op: Server, alice: Browser) -> None:
    hint = tokens(op)["id_token"]
    assert "code" in silent(alice)
    assert "code" in silent(alice, id_token_hint=hint)
    clock.set_offset(4000)
    assert "code" in silent(alice, id_token_hint=hint), "a hint may be over"


def test_prompt_none_without_a_session_is_login_required(op: Server) -> None:
    """OpenID Connect Core section 3.1.2.6."""
    assert silent(op.browser())["error"] == "login_required"


def test_prompt_none_without_a_consent_is_consent_required(op: Server) -> None:
    """OpenID Connect Core section 3.1.2.6."""
    browser = op.browser()
    browser.sign_in()
    assert silent(browser)["error"] == "consent_required"


def test_prompt_none_with_somebody_elses_hint_is_login_required(op: Server, alice: Browser) -> None:
    hint = tokens(op, who="bob")["id_token"]
    assert silent(alice, id_token_hint=hint)["error"] == "login_required"
    assert silent(alice, claims='{"id_token": {"sub": {"value": "usr_nobody"}}}')["error"] == "login_required"
    mine = op.ids["alice"]
    assert "code" in silent(alice, claims=f'{{"id_token": {{"sub": {{"value": "{mine}"}}}}}}')


def test_a_sub_that_is_asked_for_is_not_passed_over(op: Server, alice: Browser) -> None:
    """OpenID Connect Core sections 3.1.2.1 and 5.5.1: any of `values` may match; a hint for another user conflicts."""
    mine, hint = op.ids["alice"], tokens(op)["id_token"]

    def asked(**sub: Any) -> str:
        return json.dumps({"id_token": {"sub": sub}})

    assert "code" in silent(alice, claims=asked(values=["usr_nobody", mine]))
    assert "code" in silent(alice, claims=asked(values=[mine]), id_token_hint=hint)
    assert silent(alice, claims=asked(values=["usr_nobody", op.ids["bob"]]))["error"] == "login_required"
    for other in ({"value": op.ids["bob"]}, {"values": [op.ids["bob"], "usr_nobody"]}):
        answer = silent(alice, claims=asked(**other), id_token_hint=hint)
        assert answer["error"] == "invalid_request", "the client asked for Bob, but would get Alice"
        assert answer["error_description"].startswith("The id_token_hint and the claims parameter name different users")


@pytest.mark.parametrize("what", ["access_token", "nonsense", "of another client", "unsigned", "userinfo"])
def test_a_hint_that_is_none_is_refused(what: str, op: Server, alice: Browser) -> None:
    op.add(relying_party(client_id="another"))
    with op.services.database.transaction() as session:
        session.get_one(Client, "rp").userinfo_signed_response_alg = "RS256"
    op.services.registry.forget("rp")
    given = tokens(op)
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    userinfo = op.app.test_client().get("/userinfo", headers=bearer)
    assert userinfo.mimetype == "application/jwt"
    hint = {
        "access_token": given["access_token"],
        "nonsense": "a.b.c",
        "of another client": given["id_token"],
        "unsigned": given["id_token"].rpartition(".")[0] + ".",
        "userinfo": userinfo.text,
    }[what]
    asked = ASKED | ({"client_id": "another"} if what == "of another client" else {})
    answer = query(alice.request(**asked, id_token_hint=hint).location)
    assert answer["error"] == "invalid_request"


@pytest.mark.parametrize("prompt", ["none login", "none consent", "unheard-of", "login unheard-of"])
def test_a_prompt_that_makes_no_sense_is_refused(prompt: str, alice: Browser) -> None:
    assert query(alice.request(**ASKED, prompt=prompt).location)["error"] == "invalid_request"


def asked_again(browser: Browser, who: str = "alice", **changes: str) -> str:
    """Sign in because the client requires it, allow if asked, and return the code."""
    response = browser.request(**ASKED, **changes)
    assert "/sign-in" in response.location, response.location
    response = browser.sign_in(who, response.location)
    response = browser.client.get(response.location)
    if "/consent" in response.location:
        response = browser.submit(response.location, decision="allow")
        response = browser.client.get(response.location)
    answer = query(response.location)
    assert "code" in answer, answer
    return answer["code"]


def auth_time(op: Server, code: str) -> int:
    from support.openid import RP

    given = op.redeem(code, RP, redirect_uri=CALLBACK).json
    assert given is not None
    return int(verified(op, given["id_token"])["auth_time"])


@pytest.mark.parametrize("wanted", [{"prompt": "login"}, {"max_age": "10"}, {"max_age": "0"}])
def test_the_person_signs_in_again_and_auth_time_moves(wanted: dict[str, str], op: Server, alice: Browser) -> None:
    """OpenID Connect Core section 3.1.2.3."""
    before = auth_time(op, alice.authorize(**ASKED)["code"])
    clock.set_offset(60)
    assert auth_time(op, asked_again(alice, **wanted)) >= before + 60


def test_a_young_sign_in_is_enough_for_max_age(op: Server, alice: Browser) -> None:
    before = auth_time(op, alice.authorize(**ASKED)["code"])
    clock.set_offset(60)
    assert auth_time(op, alice.authorize(**ASKED, max_age="100")["code"]) == before
    assert silent(alice, max_age="50")["error"] == "login_required"


def test_the_registered_max_age_counts_where_none_is_sent(op: Server) -> None:
    """OpenID Connect Registration section 2."""
    op.add(relying_party(client_id="careful", default_max_age=30))
    browser = op.browser()
    browser.sign_in()
    asked = ASKED | {"client_id": "careful"}
    assert "/sign-in" not in browser.request(**asked).location
    clock.set_offset(31)
    assert "/sign-in" in browser.request(**asked).location
    assert "/sign-in" not in browser.request(**asked, max_age="60").location


def test_a_sign_in_of_before_does_not_do_for_prompt_login_however_the_pages_are_opened(alice: Browser) -> None:
    response = alice.request(**ASKED, prompt="login")
    interaction = response.location.partition("interaction=")[2]
    for path in (f"/authorize?interaction={interaction}", f"/authorize?interaction={interaction}&prompt=none"):
        assert "/sign-in" in alice.client.get(path).location
    alice.submit(f"/consent?interaction={interaction}", decision="allow")
    assert "/sign-in" in alice.client.get(f"/authorize?interaction={interaction}").location


def test_somebody_else_than_the_hint_is_told_to_the_client(op: Server, alice: Browser) -> None:
    """OpenID Connect Core section 3.1.2.1: login_required."""
    hint = tokens(op)["id_token"]
    response = alice.request(**ASKED, prompt="login", id_token_hint=hint)
    response = alice.sign_in("bob", response.location)
    assert query(alice.client.get(response.location).location)["error"] == "login_required"


def test_prompt_consent_asks_again(alice: Browser) -> None:
    """OpenID Connect Core section 3.1.2.4."""
    assert "/consent" not in alice.request(**ASKED).location
    assert "/consent" in alice.request(**ASKED, prompt="consent").location
    assert "code" in alice.authorize(**ASKED, prompt="consent")
    assert alice.authorize("deny", **ASKED, prompt="consent")["error"] == "access_denied"


def test_select_account_offers_who_is_signed_in_and_somebody_else(op: Server, alice: Browser) -> None:
    response = alice.request(**ASKED, prompt="select_account")
    page = alice.client.get(response.location)
    assert "Continue as <bdi>alice</bdi>" in page.text
    answer = alice.client.post(response.location, data={"csrf_token": csrf_token(page), "go-on": ""})
    assert "code" in query(alice.client.get(answer.location).location)
    assert "code" in query(f"?code={asked_again(alice, 'bob', prompt='select_account')}")


def test_go_on_does_not_do_where_a_new_sign_in_is_wanted(alice: Browser) -> None:
    response = alice.request(**ASKED, prompt="login")
    page = alice.client.get(response.location)
    assert "Continue as" not in page.text
    answer = alice.client.post(response.location, data={"csrf_token": csrf_token(page), "go-on": ""})
    assert "/sign-in" in alice.client.get(answer.location).location


def test_login_hint_fills_in_the_name(op: Server) -> None:
    browser = op.browser()
    response = browser.request(**ASKED, login_hint='zoë"><script>')
    assert 'value="zoë&#34;&gt;&lt;script&gt;"' in browser.client.get(response.location).text


def test_what_is_only_for_the_eye_is_accepted_and_what_is_unknown_ignored(alice: Browser) -> None:
    """OpenID Connect Core sections 3.1.2.1 and 5.2: unknown languages and displays are ignored, not repeated ones."""
    further = {"ui_locales": "de fr", "claims_locales": "de", "display": "touch", "unheard-of": "x"}
    assert "code" in alice.authorize(**ASKED, **further)
    assert "code" in alice.authorize(**ASKED, ui_locales="no such language!", display="on a wall")
    for name in ("ui_locales", "claims_locales", "display"):
        twice = alice.client.get(f"{authorize_url(**ASKED)}&{name}=a&{name}=b")
        assert query(twice.location)["error"] == "invalid_request"


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "99999999999"])
def test_a_max_age_that_is_no_number_is_refused(value: str, alice: Browser) -> None:
    assert query(alice.request(**ASKED, max_age=value).location)["error"] == "invalid_request"


def posted(page: Any) -> tuple[str, dict[str, str]]:
    """Return the form's action and its fields."""
    action = re.search(r'<form method="post" action="([^"]+)" id="answer">', page.text)
    assert action is not None, page.text
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text)
    return unescape(action[1]), {name: unescape(value) for name, value in fields}


def test_form_post_carries_the_answer_in_a_form(alice: Browser) -> None:
    """OAuth 2.0 Form Post Response Mode section 2: no parameters in a URL; a button for browsers without scripts."""
    page = alice.request(**ASKED | {"state": 'x"><b>'}, response_mode="form_post")
    assert page.status_code == 200
    assert "Location" not in page.headers
    action, fields = posted(page)
    assert action == CALLBACK
    assert fields.keys() == {"code", "state", "iss"}
    assert fields["state"] == 'x"><b>'
    assert "<button" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "form-action" not in policy
    assert policy.endswith("script-src 'self'")
    assert page.headers["Cache-Control"] == "no-store"
    with alice.client.get("/static/form_post.js") as script:
        assert (script.status_code, script.mimetype) == (200, "text/javascript")


def test_errors_go_by_form_post_as_well(op: Server, alice: Browser) -> None:
    for changes in ({"prompt": "none", "max_age": "x"}, {"scope": "openid", "prompt": "none login"}):
        _, fields = posted(alice.request(**ASKED | changes, response_mode="form_post"))
        assert fields.keys() == {"error", "error_description", "state", "iss"}
    _, fields = posted(op.browser().request(**ASKED, prompt="none", response_mode="form_post"))
    assert fields["error"] == "login_required"


@pytest.mark.parametrize("mode", ["fragment", "web_message", "unheard-of", "query.jwt"])
def test_another_response_mode_is_refused(mode: str, alice: Browser) -> None:
    assert query(alice.request(**ASKED, response_mode=mode).location)["error"] == "invalid_request"


def test_a_long_state_comes_back_intact(alice: Browser) -> None:
    state = "s%&=+/ ~" * 125
    assert query(alice.request(**ASKED | {"state": state}).location)["state"] == state


def test_post_works_like_get(op: Server) -> None:
    """OpenID Connect Core section 3.1.2.1."""
    browser = op.browser()
    browser.sign_in()
    asked = query(authorize_url(**ASKED, prompt="consent"))
    response = browser.client.post("/authorize", data=asked)
    response = browser.client.get(response.location)
    assert "/consent" in response.location
    response = browser.submit(response.location, decision="allow")
    assert "code" in query(browser.client.get(response.location).location)


def test_a_query_in_a_redirect_uri_is_kept_and_must_match(op: Server) -> None:
    """RFC 6749 section 3.1.2: it is kept as registered; an added or missing parameter is an error on a page."""
    kept = CALLBACK + "?a=1&b=%20x"
    op.add(relying_party(client_id="kept", redirect_uris=[kept]))
    browser = op.browser()
    browser.sign_in()
    asked = ASKED | {"client_id": "kept", "redirect_uri": kept}
    response = browser.request(**asked)
    browser.submit(response.location, decision="allow")
    response = browser.request(**asked)
    assert response.location.startswith(kept + "&code=")
    for wrong in (CALLBACK, CALLBACK + "?a=1", kept + "&c=2"):
        answer = browser.request(**asked | {"redirect_uri": wrong})
        assert (answer.status_code, answer.location) == (400, None)
    two = relying_party(client_id="two", redirect_uris=[CALLBACK, kept])
    op.add(two)
    answer = browser.request(**ASKED | {"client_id": "two", "redirect_uri": "-"})
    assert (answer.status_code, answer.location) == (400, None)


def test_a_missing_response_type_is_told_to_the_client(alice: Browser) -> None:
    assert query(alice.request(**ASKED, response_type="-").location)["error"] == "invalid_request"
