"""Endings, such as a revocation, take full effect, also in the worst order and when a store fails halfway."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import sqlalchemy as sa

from rolecall import clock
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_auth.models import token as refresh_tokens
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.key import SigningKey
from rolecall_auth.models.revocation_entries import ONE, Entry, of_record
from rolecall_auth.models.user import User
from support.auth_server import (
    CALLBACK,
    INVOICES,
    TALLY,
    Browser,
    Server,
    a_client,
    another_tab,
    authorize_url,
    csrf_token,
    hidden_fields,
    query,
)

pytestmark = pytest.mark.database


def test_a_form_of_another_site_signs_nobody_out(server: Server) -> None:
    """RFC 6749 section 3.1: POST /authorize. The browser sends no Lax cookie, so the response must not set a cookie."""
    browser = server.browser()
    browser.sign_in()
    form = query(authorize_url())
    foreign = server.app.test_client().post("/authorize", data=form)
    assert foreign.status_code == 303
    assert "Set-Cookie" not in foreign.headers
    followed = browser.client.get(foreign.location)
    assert "/consent" in followed.location
    answer = browser.submit(followed.location, decision="allow")
    assert "code" in query(browser.client.get(answer.location).location)
    assert browser.client.get("/apps").status_code == 200, "signed in as before"


def test_a_request_from_another_site_waits_for_whoever_opens_it_first(server: Server) -> None:
    location = server.app.test_client().post("/authorize", data=query(authorize_url())).location
    first, second = server.browser(), server.browser()
    for browser in (first, second):
        browser.sign_in()
    assert first.client.get(location).status_code == 303
    assert second.client.get(location).status_code == 400


def connected(server: Server) -> tuple[Browser, dict[str, Any]]:
    """Return a person's browser, and the token response that an app got there, together with its code."""
    browser = server.browser()
    browser.sign_in()
    code = browser.authorize()["code"]
    return browser, {**server.redeem(code).json, "code": code}


def failing_once(monkeypatch: pytest.MonkeyPatch, revocations: Any) -> None:
    genuine, failures = revocations._add, [redis.TimeoutError("cut")]

    def add(added: list[Entry]) -> None:
        if failures:
            raise failures.pop()
        genuine(added)

    monkeypatch.setattr(revocations, "_add", add)


ENDINGS: dict[str, Callable[[Server, Browser, dict[str, Any]], Any]] = {
    "revoked token": lambda server, _browser, tokens: server.post("/revoke", TALLY, token=tokens["access_token"]),
    "revoked refresh token": lambda server, _browser, tokens: server.post(
        "/revoke", TALLY, token=tokens["refresh_token"]
    ),
    "replayed code": lambda server, _browser, tokens: server.redeem(tokens["code"]),
    "disconnected": lambda _server, browser, _tokens: browser.client.post(
        "/apps/disconnect", data={"client_id": "tally", "csrf_token": csrf_token(browser.client.get("/apps"))}
    ),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_what_ended_while_redis_failed_is_not_active_afterwards(
    server: Server, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """RFC 7009 section 2: SQL has the revocation, and the set in Redis is not used until it has the missing entries."""
    browser, tokens = connected(server)
    assert server.is_active(tokens["access_token"])
    failing_once(monkeypatch, server.services.revocations)
    assert ENDINGS[how](server, browser, tokens).status_code == 503
    assert not server.is_active(tokens["access_token"])


@pytest.mark.parametrize("how", ENDINGS)
def test_what_ended_while_redis_was_emptied_is_not_active_afterwards(
    server: Server, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """RFC 7009 section 2: also if an introspection caused a rebuild just before SQL had the revocation."""
    browser, tokens = connected(server)
    revocations, steps = server.services.revocations, []
    genuine = revocations._add

    def add(added: list[Entry]) -> None:
        genuine(added)
        steps.append("added")

    monkeypatch.setattr(revocations, "_add", add)

    @sa.event.listens_for(server.services.database.engine, "commit")
    def empty(_connection: sa.Connection) -> None:
        if steps == ["added"]:
            steps.append("emptied")
            server.services.store.client.flushdb()
            assert not revocations.is_revoked("somebody", "else's")

    assert ENDINGS[how](server, browser, tokens).status_code < 500
    assert steps[:2] == ["added", "emptied"]
    assert not server.is_active(tokens["access_token"])


@pytest.mark.parametrize("lifetime", [600, None])
@pytest.mark.parametrize("ended", [None, 10, 10**9])
def test_a_record_has_the_entry_that_sql_selects(server: Server, ended: int | None, lifetime: int | None) -> None:
    """`ended` is the number of seconds since the authorization ended."""
    token, since = connected(server)[1]["refresh_token"], clock.now() - 60
    ended_at = None if ended is None else clock.now() - ended
    with server.services.database.begin() as connection:
        connection.execute(sa.update(Authorization).values(ended_at=ended_at, token_lifetime=lifetime))
        found = refresh_tokens.find(connection, token)
        assert found is not None
        selected = ONE.entries(connection, since, {"authorization": found[1].id})
    entries = of_record(found[1], since)
    assert [each[:2] for each in entries] == [each[:2] for each in selected]
    assert [each.expires_at for each in entries] == pytest.approx([each.expires_at for each in selected], abs=1)
    assert len(entries) == (0 if ended == 10**9 else 1)


def test_a_set_that_is_lost_while_it_is_rebuilt_is_rebuilt_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = server.tokens()["access_token"]
    server.post("/revoke", TALLY, token=token)
    client, revocations = server.services.store.client, server.services.revocations
    genuine, emptied = revocations._rebuild._write, []

    def write(*batch: Any) -> bool:
        written = genuine(*batch)
        if not emptied:
            emptied.append(client.flushall())
        return bool(written)

    client.flushall()
    monkeypatch.setattr(revocations._rebuild, "_write", write)
    first = server.post("/introspect", INVOICES, token=token)
    assert emptied
    assert first.status_code == 503 or not first.json["active"]
    assert not server.is_active(token)


@pytest.mark.parametrize("what", ["user", "client"])
def test_what_is_disabled_gets_nothing_and_what_it_had_ends(server: Server, what: str) -> None:
    tokens, code = server.tokens(), server.code()
    done = server.app.test_cli_runner().invoke(args=[f"disable-{what}", {"user": "alice", "client": "tally"}[what]])
    assert done.exit_code == 0, done.output
    assert "Authorizations ended: 2" in done.output
    clock.set_offset(5)
    assert not server.is_active(tokens["access_token"])
    for response in (server.refresh(tokens["refresh_token"]), server.redeem(code)):
        assert response.status_code in {400, 401}
    assert server.app.test_cli_runner().invoke(args=[f"disable-{what}", "nobody"]).exit_code == 1


def test_an_account_that_is_disabled_in_sql_alone_is_given_nothing(server: Server) -> None:
    tokens, code = server.tokens(), server.code()
    with server.services.database.transaction() as session:
        session.execute(sa.update(User).values(disabled_at=1.0))
    for response in (server.refresh(tokens["refresh_token"]), server.redeem(code)):
        assert response.json["error"] == "invalid_grant"


def test_a_disabled_person_is_signed_out_wherever_they_go(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    asked = browser.client.get(authorize_url()).headers["Location"]
    assert browser.client.get("/apps").status_code == browser.client.get(asked).status_code == 200
    with server.services.database.transaction() as session:
        session.execute(sa.update(User).values(disabled_at=1.0))
    assert browser.client.get(asked).headers["Location"].startswith(f"{server.path}/sign-in")
    assert browser.client.get("/apps").headers["Location"] == f"{server.path}/sign-in"
    assert server.redis_keys("session:*") == []


def test_a_redis_that_went_back_to_an_older_copy_gives_a_code_no_second_life(server: Server) -> None:
    """RFC 6749 section 4.1.2: MUST NOT be used more than once; SQL records that this code was used."""
    code = server.code()
    client = server.services.store.client
    [key] = server.redis_keys("code:*")
    kept = client.dump(key)
    first = server.redeem(code)
    assert first.status_code == 200
    client.delete(*server.redis_keys("code*"))
    client.restore(key, 60_000, kept)
    assert server.redeem(code).json["error"] == "invalid_grant"
    assert not server.is_active(first.json["access_token"])


def disconnect(browser: Browser, client_id: str) -> None:
    form = {"client_id": client_id, "csrf_token": csrf_token(browser.client.get("/sign-out"))}
    assert browser.client.post("/apps/disconnect", data=form).status_code == 303


@pytest.mark.parametrize("public", [False, True])
def test_a_decision_that_was_taken_back_before_it_was_used_gives_no_code(server: Server, public: bool) -> None:
    native = "http://127.0.0.1/cb"
    server.add(
        a_client(
            client_id="native",
            application_type="native",
            token_endpoint_auth_method="none",
            secret_hash=None,
            redirect_uris=[native],
        )
    )
    browser = server.browser()
    browser.sign_in()
    client_id, redirect_uri = ("native", native) if public else ("tally", CALLBACK)
    consent = browser.request(client_id=client_id, redirect_uri=redirect_uri).location
    decided = browser.submit(consent, decision="allow").location
    clock.set_offset(1)
    disconnect(browser, client_id)
    answer = browser.client.get(decided)
    assert answer.status_code == 400 or query(answer.location)["error"] == "access_denied"
    with server.services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Authorization)) == 0


def test_the_same_revocation_many_times_at_once(server: Server) -> None:
    """RFC 7009 section 2.2: 200 for each."""
    token = server.tokens()["access_token"]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.post("/revoke", TALLY, token=token).status_code, range(32)))
    assert set(answers) == {200}


def test_a_first_consent_in_two_tabs_at_once(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    pages = [browser.request(state=f"tab-{number}").location for number in range(6)]
    forms = [hidden_fields(browser.client.get(page)) for page in pages]

    def allow(number: int) -> int:
        return another_tab(browser.client).post(pages[number], data={**forms[number], "decision": "allow"}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(allow, range(6))) == {303}


def test_rotations_at_once_make_one_key_an_algorithm(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [kid for kids in pool.map(lambda _: server.services.keys.rotate(), range(4)) for kid in kids]
    assert len(made) == len(ID_TOKEN_ALGORITHMS)
    with server.services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(SigningKey)) == 2 * len(ID_TOKEN_ALGORITHMS)


def test_a_native_client_at_an_ipv6_address_can_be_sent_back_to(server: Server) -> None:
    """RFC 8252 section 7.3."""
    server.add(
        a_client(
            client_id="native",
            application_type="native",
            token_endpoint_auth_method="none",
            secret_hash=None,
            redirect_uris=["http://[::1]/cb"],
        )
    )
    browser = server.browser()
    browser.sign_in()
    consent = browser.request(client_id="native", redirect_uri="http://[::1]:4777/cb").location
    assert "http://[::1]:4777/cb" in browser.client.get(consent).text
    done = browser.submit(consent, decision="allow")
    assert browser.client.get(done.location).location.startswith("http://[::1]:4777/cb?code=")


@pytest.mark.parametrize("port", ["65536", "99999"])
def test_a_port_that_is_none_is_no_redirect_uri(server: Server, port: str) -> None:
    server.add(
        a_client(
            client_id="native",
            application_type="native",
            token_endpoint_auth_method="none",
            secret_hash=None,
            redirect_uris=["http://127.0.0.1/cb"],
        )
    )
    response = server.browser().request(client_id="native", redirect_uri=f"http://127.0.0.1:{port}/cb")
    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up"])
def test_head_changes_nothing(server: Server, path: str) -> None:
    """RFC 9110 section 9.2.1: HEAD is a safe method; it does not send a CSRF token either."""
    client = server.app.test_client()
    form = {"username": "mallory" if path == "/sign-up" else "alice", "password": "wonderland-lab"}
    response = client.head(path, data=form)
    assert response.status_code == 200
    assert urlsplit(client.get("/apps").location).path == f"{server.path}/sign-in"


@pytest.mark.parametrize("path", ["/sign-in", "/apps", "/jwks", "/nowhere", "/healthz"])
def test_a_body_that_is_too_long_is_refused_whatever_would_be_done_with_it(server: Server, path: str) -> None:
    """RFC 9110 section 15.5.14: also at /sign-in, which would only redirect a person who is already signed in."""
    browser = server.browser()
    browser.sign_in()
    for method in ("GET", "POST", "PUT"):
        assert browser.client.open(path, method=method, data=b"&" * 70_000).status_code == 413
