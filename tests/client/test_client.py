"""The flow from the side of the client, Tally, and every error that can end it."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rolecall import clock
from rolecall.http import Unreachable
from rolecall.issuer import RETRY_WITH_VALUE, RETRY_WITHOUT_VALUE
from rolecall.vocabulary import METADATA_PATH
from rolecall_client.issuer import AuthorizationServer
from support.auth_server import another_tab
from support.tally import API, ISSUER, METADATA, TOKENS, Browser, Tally

TOKEN = METADATA["token_endpoint"]
METADATA_URL = ISSUER + METADATA_PATH
LIFETIME = 300


def test_each_request_has_its_own_state_and_verifier(tally: Tally) -> None:
    """RFC 7636 sections 4.1 and 4.2, RFC 6749 section 10.12."""
    browser = tally.browser()
    first, second = browser.begin(), browser.begin()
    assert first["state"] != second["state"]
    assert first["code_challenge"] != second["code_challenge"]
    assert first["code_challenge_method"] == "S256"
    assert first["resource"] == API
    assert browser.come_back(code="c0de", state=first["state"], iss=ISSUER).status_code == 303
    _, _, headers, form = tally.http.to(TOKEN)[0]
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == first["code_challenge"]
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).startswith(b"tally:")
    assert "client_secret" not in form


def test_the_invoices_are_shown_and_escaped(tally: Tally) -> None:
    browser = tally.browser()
    browser.connect()
    page = browser.client.get("/invoices")
    assert page.status_code == 200
    assert "Tea House &lt;b&gt;" in page.text
    assert "1,234.56 GBP" in page.text
    assert TOKENS["access_token"] not in page.text
    assert TOKENS["refresh_token"] not in page.text


def test_tokens_are_sealed_in_redis_and_absent_from_the_cookie_and_the_log(
    tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = tally.browser()
    browser.connect()
    browser.client.get("/invoices")
    redis = tally.services.store.client
    raw = b" ".join(key + redis.get(key) for key in redis.keys("*"))
    cookie = browser.client.get_cookie(tally.cookie_name)
    assert cookie is not None
    seen = raw.decode("latin-1") + cookie.value + capsys.readouterr().out
    for secret in (TOKENS["access_token"], TOKENS["refresh_token"], "client-secret-value", "c0de"):
        assert secret not in seen


BAD_ANSWERS: dict[str, tuple[dict[str, str], str]] = {
    "another issuer": ({"iss": "http://evil.test"}, "comes from another server"),
    "no issuer, which the metadata announce": ({"iss": "-"}, "does not name its server"),
    "an issuer with a slash more": ({"iss": ISSUER + "/"}, "comes from another server"),
    "an unknown state": ({"state": "other"}, "does not match a request"),
    "no state": ({"state": "-"}, "does not match a request"),
    "a state that is not ASCII": ({"state": "é\0"}, "does not match a request"),
    "neither code nor error": ({"code": "-"}, "The response is incomplete"),
    "denied": ({"code": "-", "error": "access_denied"}, "You denied access"),
    "busy": ({"code": "-", "error": "temporarily_unavailable"}, "Wait a few seconds"),
    "an error with markup": ({"code": "-", "error": "<script>"}, "error code is invalid"),
}


@pytest.mark.parametrize(("changes", "says"), BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_a_bad_answer_reaches_no_token_endpoint(tally: Tally, changes: dict[str, str], says: str) -> None:
    """RFC 9207 sections 2.4 and 3, RFC 6749 section 4.1.2.1."""
    browser = tally.browser()
    answer = {"code": "c0de", "state": browser.begin()["state"], "iss": ISSUER, **changes}
    page = browser.come_back(**{name: value for name, value in answer.items() if value != "-"})
    assert page.status_code >= 400
    assert says in page.text
    assert "<script>" not in page.text
    assert not tally.http.to(TOKEN)


def test_a_repeated_parameter_is_refused(tally: Tally) -> None:
    browser = tally.browser()
    state = browser.begin()["state"]
    page = browser.client.get(f"/callback?code=a&code=b&state={state}&iss={ISSUER}")
    assert page.status_code >= 400
    assert not tally.http.to(TOKEN)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_empty_parameter_of_the_answer_counts_as_omitted(tally: Tally, method: str) -> None:
    """RFC 6749 section 3.1: parameters without a value are treated as if they were omitted."""
    browser = tally.browser()
    state = browser.begin()["state"]
    empty = {"error": "", "error_description": ""}
    answer = {"code": "c0de", "state": state, "iss": ISSUER, **empty}
    sent: Any = {"query_string": answer} if method == "GET" else {"data": answer}
    came = browser.client.open("/callback", method=method, **sent)
    if method == "POST":
        came = browser.client.get(came.location)
    assert (came.status_code, came.location) == (303, "/invoices")
    state = browser.begin()["state"]
    page = browser.come_back(code="", state=state, iss=ISSUER, error="access_denied")
    assert "You denied access" in page.text


def test_null_and_empty_members_of_a_token_response_count_as_omitted(tally: Tally) -> None:
    """RFC 6749 section 5.1: all but the token and its type are optional; an earlier refresh token is kept."""
    browser = tally.browser()
    browser.connect()
    tally.http.answers[TOKEN] = (200, TOKENS | {"scope": None, "refresh_token": "", "expires_in": None}, {})
    assert browser.press("/refresh", "/invoices").status_code == 303
    assert "invoices:read" in browser.client.get("/invoices").text
    tally.http.answers[TOKEN] = (200, TOKENS, {})
    assert browser.press("/refresh", "/invoices").status_code == 303
    [*_, (_, _, _, form)] = tally.http.to(TOKEN)
    assert form["refresh_token"] == TOKENS["refresh_token"]
    tally.http.answers[TOKEN] = (400, {"error": None}, {})
    assert "without an error code" in browser.press("/refresh", "/invoices").text


def test_an_answer_counts_once_and_only_in_its_browser(tally: Tally) -> None:
    """RFC 9700 section 4.7: a response to a flow that another browser started is not accepted."""
    victim, attacker = tally.browser(), tally.browser()
    state = attacker.begin()["state"]
    victim.begin()
    assert "does not match a request" in victim.come_back(code="evil", state=state, iss=ISSUER).text
    assert not tally.http.to(TOKEN)
    assert attacker.come_back(code="c0de", state=state, iss=ISSUER).status_code == 303
    assert "does not match a request" in attacker.come_back(code="c0de", state=state, iss=ISSUER).text
    assert len(tally.http.to(TOKEN)) == 1


def test_an_answer_that_took_too_long_is_not_taken(tally: Tally) -> None:
    browser = tally.browser()
    state = browser.begin()["state"]
    clock.set_offset(1801)
    assert "does not match a request" in browser.come_back(code="c0de", state=state, iss=ISSUER).text


def test_several_tabs_at_once(tally: Tally) -> None:
    browser = tally.browser()
    first, second = browser.begin(), browser.begin()
    assert browser.come_back(code="two", state=second["state"], iss=ISSUER).status_code == 303
    assert browser.come_back(code="one", state=first["state"], iss=ISSUER).status_code == 303


def test_the_session_is_renewed_when_it_is_connected(tally: Tally) -> None:
    browser = tally.browser()
    state = browser.begin()["state"]
    thief = another_tab(browser.client)
    browser.come_back(code="c0de", state=state, iss=ISSUER)
    assert browser.client.get("/invoices").status_code == 200
    assert thief.get("/invoices").status_code == 403


BAD_TOKEN_ANSWERS: dict[str, tuple[Any, str]] = {
    "expired code": ((400, {"error": "invalid_grant"}, {}), "no longer valid"),
    "wrong secret": ((401, {"error": "invalid_client"}, {}), "invalid_client"),
    "no JSON": ((200, [], {}), "has no access token"),
    "no token": ((200, {"token_type": "Bearer"}, {}), "has no access token"),
    "another token type": ((200, {"access_token": "x", "token_type": "mac"}, {}), "token_type is not Bearer"),
    "nobody there": (None, "is not responding"),
    "too slow": (Unreachable(TOKEN, "it took too long"), "it took too long"),
}


@pytest.mark.parametrize(("answer", "says"), BAD_TOKEN_ANSWERS.values(), ids=BAD_TOKEN_ANSWERS.keys())
def test_a_bad_token_answer_is_explained(tally: Tally, answer: Any, says: str) -> None:
    """RFC 6749 sections 5.1 and 7.1."""
    browser = tally.browser()
    state = browser.begin()["state"]
    tally.http.answers[TOKEN] = answer
    page = browser.come_back(code="c0de", state=state, iss=ISSUER)
    assert page.status_code in {400, 502, 503}
    assert says in page.text
    assert browser.client.get("/invoices").status_code == 403, "not connected"


def test_the_api_is_asked_though_the_authorization_server_is_away(
    tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signed token needs no authorization server, even in a new worker or with stale metadata."""
    browser = tally.browser()
    browser.connect()
    del tally.http.answers[METADATA_URL]
    new_worker = AuthorizationServer(tally.services.settings, tally.http)  # type: ignore[arg-type]
    monkeypatch.setattr(tally.services.runner, "_server", new_worker)
    assert browser.client.get("/invoices").status_code == 200
    assert browser.press("/refresh").status_code == 503, "the token endpoint is not available"
    tally.http.answers[METADATA_URL] = (200, METADATA, {"cache-control": f"max-age={LIFETIME}"})
    clock.set_offset(RETRY_WITHOUT_VALUE + 1)
    assert browser.press("/refresh").status_code == 303
    del tally.http.answers[METADATA_URL]
    clock.set_offset(LIFETIME + RETRY_WITHOUT_VALUE + 2)
    asked = len(tally.http.to(METADATA_URL))
    for _ in range(3):
        assert browser.press("/refresh").status_code == 303
    assert len(tally.http.to(METADATA_URL)) == asked + 1, "each request waited for the server that does not respond"
    clock.set_offset(LIFETIME + RETRY_WITHOUT_VALUE + RETRY_WITH_VALUE + 3)
    assert browser.press("/refresh").status_code == 303
    assert len(tally.http.to(METADATA_URL)) == asked + 2


def test_the_token_is_sent_in_the_header_only(tally: Tally) -> None:
    """RFC 6750 section 2.1."""
    browser = tally.browser()
    browser.connect()
    browser.client.get("/invoices")
    [(_, url, headers, form)] = tally.http.to(f"{API}/invoices")
    assert headers == {"Authorization": f"Bearer {TOKENS['access_token']}"}
    assert not form
    assert "?" not in url


def test_the_product_shows_nothing_of_the_lab(tally: Tally) -> None:
    """Not even with the lab's settings: only the lab itself adds its parts to the pages."""
    report = '{"validator":"jwt","checks":[{"name":"token.aud","passed":true,"clause":"RFC 9068 section 4"}]}'
    tally.http.answers[f"{API}/invoices"] = (200, {"invoices": []}, {"rolecall-checks": report})
    browser = tally.browser()
    browser.connect()
    page = browser.client.get("/invoices?check=both").text
    assert "You have no invoices yet" in page
    assert page.count("200 accepted") == 1
    for of_the_lab in ("token.aud", 'name="check"', "ask-both", "with both methods", "introspection"):
        assert of_the_lab not in page
    assert "switch between the two" not in browser.client.get("/").text


def test_a_refusal_of_the_api_is_shown(tally: Tally) -> None:
    browser = tally.browser()
    browser.connect()
    body = {"error": "invalid_token", "error_description": "The access token has expired."}
    challenge = 'Bearer error="invalid_token"'
    tally.http.answers[f"{API}/invoices"] = (401, body, {"www-authenticate": challenge})
    page = browser.client.get("/invoices")
    assert page.status_code == 502
    assert "The access token has expired." in page.text
    assert "invalid_token" in page.text


def test_refresh_puts_new_tokens_in_the_place_of_the_old(tally: Tally) -> None:
    browser = tally.browser()
    browser.connect()
    tally.http.answers[TOKEN] = (200, {**TOKENS, "access_token": "new-access", "refresh_token": "new-refresh"}, {})
    assert browser.press("/refresh", "/invoices").status_code == 303
    browser.client.get("/invoices")
    assert tally.http.to(f"{API}/invoices")[-1][2]["Authorization"] == "Bearer new-access"
    browser.press("/refresh", "/invoices")
    assert tally.http.to(TOKEN)[-1][3]["refresh_token"] == "new-refresh"


@pytest.mark.parametrize("lifetime", [253_402_300_000, 1e11, float("inf"), float("nan"), -5, True, "300", None, [1]])
def test_a_lifetime_that_is_none_is_not_told(tally: Tally, lifetime: Any) -> None:
    """RFC 6749 section 5.1: `expires_in` is a number of seconds; a time that no calendar has must not cause a 500."""
    browser = tally.browser()
    browser.connect()
    tally.http.answers[TOKEN] = (200, {**TOKENS, "expires_in": lifetime}, {})
    assert browser.press("/refresh", "/invoices").status_code == 303
    page = browser.client.get("/invoices")
    assert page.status_code == 200
    assert "expires at" not in page.text
    assert "since" not in page.text.partition("<dt>Access token</dt>")[2].partition("</dd>")[0]


def test_a_refused_refresh_ends_the_connection(tally: Tally) -> None:
    browser = tally.browser()
    browser.connect()
    tally.http.answers[TOKEN] = (400, {"error": "invalid_grant"}, {})
    page = browser.press("/refresh", "/invoices")
    assert "no longer valid" in page.text
    assert browser.client.get("/invoices").status_code == 403


def test_revoke_and_disconnect(tally: Tally) -> None:
    browser = tally.browser()
    browser.connect()
    assert browser.press("/revoke", "/invoices").location == "/invoices"
    assert tally.http.to(METADATA["revocation_endpoint"])[-1][3]["token"] == TOKENS["access_token"]
    assert ">revoked<" in browser.client.get("/invoices").text
    assert browser.press("/disconnect", "/invoices").location == "/"
    assert tally.http.to(METADATA["revocation_endpoint"])[-1][3]["token"] == TOKENS["refresh_token"]
    assert browser.client.get("/invoices").status_code == 403


def test_the_server_keeps_the_refresh_token(tally: Tally) -> None:
    """RFC 6749 section 6: a new refresh token is optional."""
    browser = tally.browser()
    browser.connect()
    tally.http.answers[TOKEN] = (200, {name: value for name, value in TOKENS.items() if name != "refresh_token"}, {})
    browser.press("/refresh", "/invoices")
    assert "a new access token and the same refresh token" in browser.client.get("/invoices").text
    browser.press("/refresh", "/invoices")
    assert tally.http.to(TOKEN)[-1][3]["refresh_token"] == TOKENS["refresh_token"]


def test_the_server_issues_no_refresh_token(tally: Tally) -> None:
    """RFC 6749 section 5.1: refresh tokens are optional, and the connection works without them."""
    tally.http.answers[TOKEN] = (200, {name: value for name, value in TOKENS.items() if name != "refresh_token"}, {})
    browser = tally.browser()
    browser.connect()
    assert "Tally has no refresh token" in browser.press("/refresh", "/invoices").text
    assert browser.client.get("/invoices").status_code == 200


def test_the_server_does_not_revoke_access_tokens(tally: Tally) -> None:
    """RFC 7009 section 2.2.1: the pages mention this, and the person can still disconnect."""
    tally.http.answers[TOKEN] = (200, {name: value for name, value in TOKENS.items() if name != "refresh_token"}, {})
    tally.http.answers[METADATA["revocation_endpoint"]] = (400, {"error": "unsupported_token_type"}, {})
    browser = tally.browser()
    browser.connect()
    page = browser.press("/revoke", "/invoices")
    assert page.status_code == 501
    assert "does not revoke access tokens" in page.text
    assert ">revoked<" not in browser.client.get("/invoices").text
    browser.press("/disconnect", "/invoices")
    assert "stay valid until they expire" in browser.client.get("/").text
    assert browser.client.get("/invoices").status_code == 403


def test_the_pages_name_another_provider(tally: Tally) -> None:
    """They do not link to a page that only Rolecall's authorization server has."""
    assert f'href="{ISSUER}/apps"' in tally.browser().client.get("/").text
    page = tally.again(issuer_name="Wonderland").browser().client.get("/").text
    assert "Sign in with Wonderland" in page
    assert f"{ISSUER}/apps" not in page
    assert "Rolecall Accounts" not in page


def test_a_lost_session_is_explained(tally: Tally) -> None:
    browser = tally.browser()
    assert "not connected" in browser.client.get("/invoices").text
    browser.connect()
    tally.services.store.client.flushall()
    page = browser.client.get("/invoices")
    assert page.status_code == 403
    assert "session with Tally has ended" in page.text


def test_metadata_of_another_issuer_are_refused(tally: Tally) -> None:
    """RFC 8414 section 3.3."""
    url = f"{ISSUER}/.well-known/oauth-authorization-server"
    tally.http.answers[url] = (200, {**METADATA, "issuer": "http://evil.test"}, {})
    page = tally.browser().press("/connect")
    assert page.status_code == 502
    assert "not the expected authorization server" in page.text


def test_a_stopped_authorization_server_is_explained(tally: Tally) -> None:
    tally.http.answers.clear()
    page = tally.browser().press("/connect")
    assert page.status_code == 503
    assert "authorization server is not responding" in page.text


def test_every_form_needs_its_token(tally: Tally) -> None:
    browser = tally.browser()
    browser.connect()
    for path in ("/connect", "/refresh", "/revoke", "/disconnect"):
        assert browser.client.post(path).status_code == 400
    assert browser.client.get("/invoices").status_code == 200


def test_whoever_connects_anew_gives_the_old_tokens_back(tally: Tally) -> None:
    """RFC 7009 section 1: Tally revokes tokens that it no longer needs."""
    browser = tally.browser()
    states = [browser.begin()["state"] for _ in range(2)]  # two tabs
    browser.come_back(code="c0de", state=states[0], iss=ISSUER)
    assert not tally.http.to(METADATA["revocation_endpoint"])
    assert browser.come_back(code="c1de", state=states[1], iss=ISSUER).location == "/invoices"
    [(_, _, _, form)] = tally.http.to(METADATA["revocation_endpoint"])
    assert form["token_type_hint"] == "refresh_token"
    assert browser.client.get("/invoices").status_code == 200


def test_one_request_at_a_time_changes_the_tokens(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9700 section 4.14.2: two simultaneous uses of a refresh token would look like a theft."""
    browser = tally.browser()
    browser.connect()
    token = csrf_token_of(browser)
    genuine, busy, overlaps = tally.http.send, threading.Lock(), []

    def send(method: str, url: str, **arguments: Any) -> Any:
        if url not in {METADATA["token_endpoint"], METADATA["revocation_endpoint"]}:
            return genuine(method, url, **arguments)
        if not busy.acquire(blocking=False):
            overlaps.append(url)
            return genuine(method, url, **arguments)
        try:
            time.sleep(0.1)
            return genuine(method, url, **arguments)
        finally:
            busy.release()

    monkeypatch.setattr(tally.http, "send", send)

    def press(path: str) -> int:
        return another_tab(browser.client).post(path, data={"csrf_token": token}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(press, ["/refresh", "/revoke", "/refresh", "/revoke"])) == {303}
    assert not overlaps


def csrf_token_of(browser: Browser) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.client.get("/invoices").text)
    assert found is not None
    return found[1]
