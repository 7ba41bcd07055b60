"""Limits that slow attackers down but do not lock owners out: sign-in, sign-up, client authentication, hashing."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import sqlalchemy as sa
from argon2 import extract_parameters
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from rolecall.limits import limit, network
from rolecall_auth.models import user as people
from rolecall_auth.models.authorization import Authorization
from support.auth_server import (
    INVOICES,
    PASSWORDS,
    TALLY,
    Browser,
    Server,
    another_process,
    authorize_url,
    basic,
    csrf_token,
    make_server,
    make_settings,
    query,
)
from support.servers import RedisServer
from support.stack import wait_until


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Server:
    limits = {"sign_in_limit": limit("4/minute"), "sign_in_address_limit": limit("12/minute")}
    limits |= {
        "sign_up_limit": limit("2/hour"),
        "client_limit": limit("3/minute"),
        "authorization_limit": limit("5/minute"),
    }
    return make_server(make_settings(tmp_path, redis_url, **limits))


def attempt(browser: FlaskClient, who: str, password: str, address: str = "192.0.2.1") -> TestResponse:
    where = {"REMOTE_ADDR": address}
    page = browser.get("/sign-in", environ_base=where)
    form = {"csrf_token": csrf_token(page), "username": who, "password": password}
    return browser.post("/sign-in", data=form, environ_base=where)


def test_a_guesser_is_slowed_down_and_told_for_how_long(server: Server) -> None:
    """RFC 6585 section 4: 429 with Retry-After, and a page that explains. RFC 6749 section 10.10."""
    browser = server.app.test_client()
    assert [attempt(browser, "alice", "guess").status_code for _ in range(5)] == [403] * 4 + [429]
    refused = attempt(browser, "alice", PASSWORDS["alice"])
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "Your account is not locked" in refused.text
    assert f"in {refused.headers['Retry-After']} seconds" in refused.text
    assert f'href="{server.path}/sign-in"' in refused.text
    assert attempt(browser, "ALICE ", "guess").status_code == 429, "another spelling of the same name"


def test_the_owner_goes_on_in_a_browser_that_is_known(server: Server) -> None:
    mine, guesser = server.app.test_client(), server.app.test_client()
    assert attempt(mine, "alice", PASSWORDS["alice"]).status_code == 303
    page = mine.get("/sign-out")
    mine.post("/sign-out", data={"csrf_token": csrf_token(page)})
    while attempt(guesser, "alice", "guess", "198.51.100.7").status_code != 429:
        pass
    assert attempt(guesser, "alice", PASSWORDS["alice"], "198.51.100.7").status_code == 429
    assert attempt(mine, "alice", PASSWORDS["alice"]).status_code == 303


def test_a_known_browser_is_known_for_its_people_alone(server: Server) -> None:
    browser, guesser = server.app.test_client(), server.app.test_client()
    attempt(browser, "alice", PASSWORDS["alice"])
    browser.post("/sign-out", data={"csrf_token": csrf_token(browser.get("/sign-out"))})
    while attempt(guesser, "bob", "guess", "198.51.100.7").status_code != 429:
        pass
    assert attempt(browser, "bob", PASSWORDS["bob"]).status_code == 429
    known = next(cookie for cookie in browser._cookies.values() if cookie.key.endswith("_known"))
    forged = known.value[:-4] + ("AAAA" if known.value[-4:] != "AAAA" else "BBBB")
    guesser.set_cookie(known.key, forged)
    while (answer := attempt(guesser, "alice", "guess", "198.51.100.8")).status_code == 403:
        pass
    assert answer.status_code == 429


def test_other_accounts_and_addresses_are_not_touched(server: Server) -> None:
    browser = server.app.test_client()
    while attempt(browser, "alice", "guess").status_code != 429:
        pass
    assert attempt(browser, "bob", PASSWORDS["bob"]).status_code == 303


def test_a_good_password_forgives_the_attempts_before_it(server: Server) -> None:
    for _ in range(3):
        browser = server.app.test_client()
        for _ in range(3):
            assert attempt(browser, "bob", "guess", "203.0.113.9").status_code == 403
        assert attempt(server.app.test_client(), "bob", PASSWORDS["bob"], "203.0.113.9").status_code == 303


def test_an_address_that_tries_many_names(server: Server) -> None:
    browser = server.app.test_client()
    statuses = [attempt(browser, f"name-{number}", "guess").status_code for number in range(13)]
    assert statuses == [403] * 12 + [429]
    assert attempt(browser, "bob", "guess", "203.0.113.5").status_code == 403


def test_a_name_that_nobody_has_is_answered_alike(server: Server) -> None:
    answers = []
    for who in ("alice", "nobody-at-all"):
        browser = server.app.test_client()
        answers.append([attempt(browser, who, "guess", "203.0.113.77") for _ in range(5)])
    for known, unknown in zip(*answers, strict=True):
        assert known.status_code == unknown.status_code
        gone = re.compile(r'(?:value|content)="[^"]*"|\d+ seconds|[0-9a-f]{32}')
        same = [gone.sub("", page.text) for page in (known, unknown)]
        assert same[0] == same[1]


def test_parallel_attempts_are_counted_before_they_are_looked_at(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    genuine = people.is_password
    monkeypatch.setattr(people, "is_password", lambda *pair: looked_at.append(pair[1]) or genuine(*pair))
    browsers = [server.app.test_client() for _ in range(12)]
    forms = [{"csrf_token": csrf_token(browser.get("/sign-in")), "username": "alice"} for browser in browsers]

    def guess(number: int) -> int:
        form = forms[number] | {"password": f"guess {number}"}
        return browsers[number].post("/sign-in", data=form, environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(guess, range(12)))
    assert len(looked_at) <= 4
    assert statuses.count(429) == 8


def test_accounts_from_one_address(server: Server) -> None:
    def made(name: str, address: str) -> TestResponse:
        where = {"REMOTE_ADDR": address}
        browser = server.app.test_client()
        form = {"csrf_token": csrf_token(browser.get("/sign-up")), "username": name, "password": "a password of mine"}
        return browser.post("/sign-up", data=form, environ_base=where)

    assert [made(f"person-{number}", "192.0.2.1").status_code for number in range(2)] == [303, 303]
    refused = made("person-2", "192.0.2.1")
    assert refused.status_code == 429
    assert "Too many new accounts" in refused.text
    assert "your name" not in refused.text, "the page has the message of another limit"
    assert int(refused.headers["Retry-After"]) >= 1
    assert made("!", "192.0.2.1").status_code == 400, "a rejected sign-up is not counted"
    assert made("person-2", "192.0.2.2").status_code == 303


def test_requests_that_wait_for_people_are_counted(server: Server) -> None:
    """The server stores such requests for fifteen minutes, so it limits them; those of connected apps do not count."""
    connected = server.browser()
    connected.sign_in()
    connected.authorize()
    stranger, where = server.app.test_client(), {"REMOTE_ADDR": "192.0.2.7"}
    statuses = [stranger.get(authorize_url(), environ_base=where).status_code for _ in range(7)]
    assert statuses == [303] * 5 + [429] * 2
    refused = stranger.post("/authorize", data=dict(parse_qsl(urlsplit(authorize_url()).query)), environ_base=where)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert "Too many authorization requests came" in refused.text
    assert stranger.get(authorize_url(), environ_base={"REMOTE_ADDR": "192.0.2.8"}).status_code == 303
    for _ in range(8):
        assert "code=" in connected.client.get(authorize_url()).headers["Location"]


@pytest.mark.parametrize(("path", "headers"), [("/token", TALLY), ("/introspect", INVOICES), ("/revoke", TALLY)])
def test_a_client_that_fails_too_often_from_one_address(server: Server, path: str, headers: dict[str, str]) -> None:
    """RFC 6749 section 2.3.1: the server MUST protect any endpoint that takes a password against brute force.

    So does RFC 9700 section 2.5 for clients.
    """
    import base64

    user = base64.b64decode(headers["Authorization"].split()[1]).decode().split(":")[0]
    wrong = {"Authorization": "Basic " + base64.b64encode(f"{user}:{'x' * 43}".encode()).decode()}
    ask: Any = lambda sent, address="192.0.2.1": server.app.test_client().post(  # noqa: E731
        path, data={"token": "x", "grant_type": "refresh_token"}, headers=sent, environ_base={"REMOTE_ADDR": address}
    )
    assert [ask(wrong).status_code for _ in range(4)] == [401] * 3 + [429]
    refused = ask(wrong)
    assert refused.status_code == 429
    assert refused.json["error"] == "temporarily_unavailable"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["Cache-Control"] == "no-store"
    assert ask(wrong, "192.0.2.2").status_code == 401
    assert ask(headers).status_code in {200, 400}, "the correct secret is accepted all the same"


def test_an_address_that_tries_many_clients(server: Server) -> None:
    """RFC 6749 section 2.3.1; invalid registration access tokens and requests without a client count too."""
    server = another_process(server, client_address_limit=limit("6/minute"))
    ask = server.app.test_client().open
    here = {"REMOTE_ADDR": "192.0.2.1"}

    def token(name: str, address: str = "192.0.2.1") -> int:
        form = {"grant_type": "refresh_token", "refresh_token": "x"}
        where = {"REMOTE_ADDR": address}
        return ask("/token", method="POST", data=form, headers=basic(name, "x" * 43), environ_base=where).status_code

    tries = [token(f"client-{number}") for number in range(3)]
    tries.append(ask("/token", method="POST", data={"grant_type": "refresh_token"}, environ_base=here).status_code)
    headers = {"Authorization": "Bearer wrong"}
    manage: Any = {"path": "/register/tally", "headers": headers, "environ_base": here}
    tries += [ask(**manage, method=method).status_code for method in ("GET", "DELETE")]
    assert tries == [401] * 6
    assert token("client-7") == 429
    assert ask("/register/tally", headers=headers, environ_base=here).status_code == 429
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    assert token("client-7", "192.0.2.2") == 401
    assert token("tally") == 429
    assert ask("/token", method="POST", data=form, headers=TALLY, environ_base=here).json["error"] == "invalid_grant"
    introspected = ask("/introspect", method="POST", data={"token": "x"}, headers=INVOICES, environ_base=here)
    assert introspected.json == {"active": False}, "the resource at this address is not locked out"


def test_who_authenticates_well_costs_no_question_to_the_counters(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = server.tokens()
    monkeypatch.setattr(server.services.limits._limiter, "hit", lambda *_, **__: pytest.fail("counted"))
    assert server.introspect(tokens["access_token"])["active"]


def test_a_wrong_secret_at_a_blocked_address_costs_no_question_to_the_counters(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, form = basic("tally", "x" * 43), {"grant_type": "refresh_token", "refresh_token": "x"}
    assert [server.post("/token", wrong, **form).status_code for _ in range(4)] == [401] * 3 + [429]
    monkeypatch.setattr(server.services.limits._limiter, "hit", lambda *_, **__: pytest.fail("counted"))
    assert server.post("/token", wrong, **form).status_code == 429


def test_a_dead_redis_is_503_and_lets_nobody_guess(tmp_path: Path, own_redis: RedisServer) -> None:
    server = make_server(make_settings(tmp_path, own_redis.url))
    browser = Browser(server.app.test_client())
    page = browser.client.get("/sign-in")
    own_redis.stop()
    form = {"csrf_token": csrf_token(page), "username": "alice", "password": PASSWORDS["alice"]}
    assert browser.client.post("/sign-in", data=form).status_code == 503
    wrong = {"Authorization": "Basic dGFsbHk6d3Jvbmc="}
    assert server.post("/token", wrong, grant_type="refresh_token", refresh_token="x").status_code == 503


def test_a_name_that_nobody_has_costs_the_same_hash(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the response time would reveal which names exist (OWASP ASVS 5.0 6.3.8)."""
    hashed: list[str] = []
    genuine = people.is_password
    monkeypatch.setattr(people, "is_password", lambda *pair: hashed.append(pair[0]) or genuine(*pair))
    for who in ("alice", "nobody-at-all", "no\x00body"):
        assert attempt(server.app.test_client(), who, "guess").status_code == 403
    assert len(hashed) == 3
    of_today = extract_parameters(people.hash_password("a password of mine"))
    assert [extract_parameters(each) for each in hashed[1:]] == [of_today, of_today]


def test_two_passwords_are_hashed_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hash takes 64 MiB; the limit bounds their total memory."""
    under_way, most, goes_on = [0], [0], threading.Event()

    class Slow:
        def hash(self, _: str) -> str:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
            goes_on.wait(60)
            under_way[0] -= 1
            return "a hash"

    monkeypatch.setattr(people, "_hasher", Slow())
    with ThreadPoolExecutor(8) as pool:
        hashes = [pool.submit(people.hash_password, "x") for _ in range(8)]
        wait_until(lambda: people._queue._value == 0 and under_way[0] >= 2)
        goes_on.set()
        assert [each.result(60) for each in hashes] == ["a hash"] * 8
    assert most == [2]


def test_no_more_than_eight_passwords_wait_to_be_hashed(server: Server) -> None:
    with ExitStack() as held:
        for _ in range(8):
            people._queue.acquire()
            held.callback(people._queue.release)
        refused = attempt(server.app.test_client(), "alice", PASSWORDS["alice"])
    assert refused.status_code == 503
    assert "Too many people are signing in" in refused.text
    assert refused.headers["Retry-After"]
    assert attempt(server.app.test_client(), "alice", PASSWORDS["alice"]).status_code == 303


def test_a_household_is_one_address() -> None:
    assert network("192.0.2.1") == "192.0.2.1"
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2:ffff::1")
    assert network("2001:db8:1:2::1") != network("2001:db8:1:3::1")
    assert network("no address") == "unknown"


def test_one_account_gives_a_bounded_number_of_authorizations(tmp_path: Path, redis_url: str) -> None:
    """RFC 6585 section 4; OpenID Connect Core section 3.1.2.6 for `prompt=none`."""
    changes: dict[str, Any] = {"account_authorization_limit": limit("3/minute")}
    server = make_server(make_settings(tmp_path, redis_url, **changes))
    browser, other = server.browser(), server.browser()
    browser.sign_in()
    other.sign_in("bob")
    assert all("code" in browser.authorize(scope=scope) for scope in ("invoices:read", "invoices:pay", "invoices:read"))
    refused = browser.request()
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "access to your account too often" in refused.text
    silent = query(browser.request(prompt="none", scope="invoices:read").location)
    assert (silent["error"], silent["state"]) == ("temporarily_unavailable", "st4te")
    with server.services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Authorization)) == 3
    assert "code" in other.authorize()
