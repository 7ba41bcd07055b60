"""Codes, tokens, assertions, and registrations that many requests use at the same moment.

Two applications serve each race. Like two workers, they share the stores but no memory.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from support.auth_server import (
    SECRET,
    TALLY,
    WIDE,
    Browser,
    Server,
    a_client,
    another_process,
    basic,
    csrf_token,
    make_server,
    make_settings,
)
from support.parallel import patient, race
from support.registration import manage, register, registered
from support.signing import claims, is_in, is_refused, present, signed, signer

pytestmark = [pytest.mark.database, pytest.mark.long]

PARTS = pytest.mark.parametrize("part", range(4))
"""For tests of many rounds: the parts run in parallel, and each ends long before the timeout of a test."""

CODES = 400 // 4
FAMILIES = 400 // 4
ENDINGS = 328 // 8
ASSERTIONS = 148
INITIAL_TOKENS = 6
REGISTRATIONS = 37
NAMES = 6
PASSWORDS = [f"long enough, number {number}" for number in range(6)]

LENIENT = basic("lenient", SECRET)
STRICT = basic("strict", SECRET)


class Workers:
    """Two applications on the same stores, which serve calls alternately.

    Args:
        first: the application that tests use outside of a race.
    """

    def __init__(self, first: Server) -> None:
        self.first = first
        self._turns = itertools.cycle([first, another_process(first)])

    def race(self, count: int, call: Callable[[Server], Any]) -> list[Any]:
        """Return the results of `count` simultaneous calls, alternately to the two applications."""
        return race(self.calls(count, call))

    def calls(self, count: int, call: Callable[[Server], Any]) -> list[Callable[[], Any]]:
        """Return calls for `support.parallel.race`."""
        return [partial(patient, partial(call, next(self._turns))) for _ in range(count)]


@pytest.fixture
def workers(tmp_path: Path, redis_url: str) -> Workers:
    server = make_server(make_settings(tmp_path, redis_url, **WIDE))
    server.add(
        # the rounds must not depend on how fast the machine is
        a_client(client_id="lenient", refresh_grace=600),
        a_client(client_id="strict", refresh_grace=0),
        signer(),
    )
    return Workers(server)


@pytest.fixture
def browser(workers: Workers) -> Browser:
    browser = workers.first.browser()
    browser.sign_in()
    return browser


def families(workers: Workers, browser: Browser, count: int, client: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield token responses for new authorizations of a client."""
    client_id = "strict" if client is STRICT else "lenient"
    for _ in range(count):
        response = workers.first.redeem(browser.authorize(client_id=client_id)["code"], client)
        assert response.status_code == 200, response.text
        yield dict(response.json or {})


def successes(responses: list[Any]) -> list[dict[str, Any]]:
    """Return the token responses; all other responses must be `invalid_grant`."""
    refused = [response for response in responses if response.status_code != 200]
    assert {(response.status_code, response.json["error"]) for response in refused} <= {(400, "invalid_grant")}
    return [response.json for response in responses if response.status_code == 200]


def is_usable(server: Server, tokens: dict[str, Any], client: dict[str, str]) -> bool:
    """Return whether the access token is active or the refresh token is accepted."""
    return server.is_active(tokens["access_token"]) or (
        server.refresh(tokens["refresh_token"], client).status_code == 200
    )


@PARTS
def test_a_code_is_redeemed_once_at_most(workers: Workers, browser: Browser, part: int) -> None:
    """RFC 6749 section 4.1.2; the other fifteen attempts revoke the tokens of the first attempt."""
    redeemed = 0
    for _ in range(CODES):
        code = browser.authorize()["code"]
        given = successes(workers.race(16, lambda server, code=code: server.redeem(code)))
        assert len(given) <= 1
        assert not any(is_usable(workers.first, tokens, TALLY) for tokens in given)
        redeemed += len(given)
    assert redeemed, "no attempt succeeded in any round"


@PARTS
def test_a_refresh_token_without_grace_is_used_once_at_most(workers: Workers, browser: Browser, part: int) -> None:
    """RFC 9700 section 4.14.2; the other fifteen attempts end the family."""
    refreshed = 0
    for family in families(workers, browser, FAMILIES, STRICT):
        token = family["refresh_token"]
        given = successes(workers.race(16, lambda server, token=token: server.refresh(token, STRICT)))
        assert len(given) <= 1
        assert not any(is_usable(workers.first, tokens, STRICT) for tokens in [family, *given])
        refreshed += len(given)
    assert refreshed, "no attempt succeeded in any round"


@PARTS
def test_within_the_grace_a_family_has_one_line(workers: Workers, browser: Browser, part: int) -> None:
    """RFC 9700 section 4.14.2: all get the same successor; after a race of old and new, at most one token is valid."""
    outcomes = Counter[str]()
    for family in families(workers, browser, FAMILIES, LENIENT):
        old = family["refresh_token"]
        given = successes(workers.race(16, lambda server, old=old: server.refresh(old, LENIENT)))
        assert len(given) == 16
        [successor] = {tokens["refresh_token"] for tokens in given}

        calls = [
            *workers.calls(8, lambda server, old=old: server.refresh(old, LENIENT)),
            *workers.calls(8, lambda server, token=successor: server.refresh(token, LENIENT)),
        ]
        given += successes(race(calls))
        heads = {tokens["refresh_token"] for tokens in given} - {successor}
        assert len(heads) <= 1
        active = {workers.first.is_active(tokens["access_token"]) for tokens in [family, *given]}
        assert len(active) == 1, "a part of the family ended"
        [head] = heads or {successor}
        continues = workers.first.refresh(head, LENIENT).status_code == 200
        assert active == {continues}
        outcomes["continues" if continues else "ended"] += 1
    assert outcomes["ended"], "the old token never came after the use of its successor"


@pytest.mark.parametrize("how", ["revoke", "disconnect"])
@PARTS
def test_an_ending_reaches_parallel_refreshes(workers: Workers, browser: Browser, part: int, how: str) -> None:
    """RFC 7009 section 2: no token of the authorization can be used afterwards."""
    form = {"client_id": "lenient", "csrf_token": csrf_token(browser.client.get("/sign-out"))}
    for family in families(workers, browser, ENDINGS, LENIENT):
        token = family["refresh_token"]

        def end(token: str = token) -> TestResponse:
            if how == "revoke":
                return workers.first.post("/revoke", LENIENT, token=token)
            return browser.client.post("/apps/disconnect", data=form)

        refreshes = workers.calls(15, lambda server, token=token: server.refresh(token, LENIENT))
        *responses, ended = race([*refreshes, partial(patient, end)])
        assert ended.status_code == (200 if how == "revoke" else 303)
        for tokens in [family, *successes(responses)]:
            assert not is_usable(workers.first, tokens, LENIENT)


def test_an_assertion_is_accepted_once(workers: Workers) -> None:
    """RFC 7523 section 3."""
    for _ in range(ASSERTIONS):
        assertion = signed(claims())
        answers = workers.race(32, lambda server, assertion=assertion: present(server, assertion))
        assert (sum(map(is_in, answers)), sum(map(is_refused, answers))) == (1, 31)


def test_an_initial_access_token_registers_one_client(workers: Workers) -> None:
    """RFC 7591 section 3."""
    guarded = Workers(another_process(workers.first, registration="token"))
    for _ in range(INITIAL_TOKENS):
        token = guarded.first.app.test_cli_runner().invoke(args=["registration-token"]).output.strip()
        answers = guarded.race(48, lambda server, token=token: register(server, token=token))
        assert Counter(answer.status_code for answer in answers) == {201: 1, 401: 47}


def test_a_deleted_registration_is_not_restored_by_an_update(workers: Workers) -> None:
    """RFC 7592 section 2.3."""
    for _ in range(REGISTRATIONS):
        client = registered(workers.first)
        calls = [
            *workers.calls(24, lambda server, client=client: manage(server, client, "PUT", client_name="Changed")),
            *workers.calls(8, lambda server, client=client: manage(server, client, "DELETE")),
        ]
        answers = [answer.status_code for answer in race(calls)]
        assert {*answers[:24]} <= {200, 401}
        assert {*answers[24:]} <= {204, 401}
        assert 204 in answers
        for method in ("GET", "PUT", "DELETE"):
            assert manage(workers.first, client, method).status_code == 401


def test_a_name_is_given_to_one_account(workers: Workers) -> None:
    second = another_process(workers.first)
    for number in range(NAMES):
        people = [server.browser().client for server in [workers.first, second] * 3]
        forms = [
            {"csrf_token": csrf_token(person.get("/sign-up")), "username": f"carol-{number}", "password": secret}
            for person, secret in zip(people, PASSWORDS, strict=True)
        ]
        calls = [
            partial(patient, partial(person.post, "/sign-up", data=form))
            for person, form in zip(people, forms, strict=True)
        ]
        answers = race(calls)
        assert Counter(answer.status_code for answer in answers) == {303: 1, 400: 5}
        [password] = [secret for secret, answer in zip(PASSWORDS, answers, strict=True) if answer.status_code == 303]
        found = workers.first.browser().submit("/sign-in", username=f"carol-{number}", password=password)
        assert found.status_code == 303
