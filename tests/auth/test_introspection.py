"""Introspection and revocation (RFC 7662, RFC 7009), also after a loss of data in Redis."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from rolecall import clock
from rolecall.storage import digest
from rolecall_auth.models.resource import Resource
from support.auth_server import (
    INVOICES,
    PASSWORDS,
    RESOURCE_SECRET,
    SECRET,
    TALLY,
    Server,
    a_client,
    basic,
    csrf_token,
    make_server,
    make_settings,
    query,
)
from support.servers import RedisServer


def test_only_authenticated_resources_are_answered(server: Server) -> None:
    """RFC 7662 section 2.1: the endpoint MUST require some form of authorization."""
    token = server.tokens()["access_token"]
    form = {"client_id": "invoices-api", "client_secret": RESOURCE_SECRET}
    for headers, extra in [({}, {}), (TALLY, {}), (basic("invoices-api", "wrong"), {}), ({}, form)]:
        response = server.post("/introspect", headers, token=token, **extra)
        assert response.status_code == 401
        assert response.json["error"] == "invalid_client"
    assert server.post("/introspect", INVOICES).json["error"] == "invalid_request"


def test_inactive_says_nothing_else(server: Server) -> None:
    """RFC 7662 section 2.2: SHOULD NOT include any additional information about an inactive token.

    RFC 7662 section 4.
    """
    tokens = server.tokens()
    head, body, signature = tokens["access_token"].split(".")
    server.add(
        Resource(identifier="http://other.test", resource_id="other", name="O", secret_hash=digest("s" * 30), scopes={})
    )
    foreign = server.post("/introspect", basic("other", "s" * 30), token=tokens["access_token"])
    assert foreign.json == {"active": False}
    refresh = tokens["refresh_token"]
    for bad in ("x", "a.b.c", f"{head}.{body}.", f"{head}.{body}.{signature[:-4]}AAAA", refresh, "é", '"', "x" * 9000):
        response = server.post("/introspect", INVOICES, token=bad)
        assert response.json == {"active": False} or response.json["error"] == "invalid_request"
        assert response.status_code in {200, 400}
    unknown_hint = server.post("/introspect", INVOICES, token=tokens["access_token"], token_type_hint="strange")
    assert unknown_hint.json["active"] is True
    clock.set_offset(301)
    assert server.introspect(tokens["access_token"]) == {"active": False}


def test_revoking_an_access_token_ends_it_alone(server: Server) -> None:
    """RFC 7009 section 2.1."""
    tokens = server.tokens()
    response = server.post("/revoke", TALLY, token=tokens["access_token"], token_type_hint="refresh_token")
    assert response.status_code == 200
    assert not server.is_active(tokens["access_token"])
    fresh = server.refresh(tokens["refresh_token"]).json
    assert server.is_active(fresh["access_token"])


def test_revoking_a_refresh_token_ends_all(server: Server) -> None:
    """RFC 7009 section 2.1: SHOULD also invalidate all access tokens based on the same authorization grant."""
    tokens = server.tokens()
    assert server.post("/revoke", TALLY, token=tokens["refresh_token"], token_type_hint="nonsense").status_code == 200
    assert not server.is_active(tokens["access_token"])
    assert server.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"


def test_revocation_answers_200_for_what_is_no_token_and_refuses_foreign_ones(server: Server) -> None:
    """RFC 7009 section 2.2: invalid tokens do not cause an error response."""
    server.add(a_client(client_id="other"))
    tokens = server.tokens()
    for token in ("x", "a.b.c", "é"):
        assert server.post("/revoke", TALLY, token=token).status_code in {200, 400}
    assert server.post("/revoke", TALLY, token="nonsense").status_code == 200
    for kind in ("access_token", "refresh_token"):
        response = server.post("/revoke", basic("other", SECRET), token=tokens[kind])
        assert response.json["error"] == "invalid_grant"
    assert server.post("/revoke", {}, token="x").status_code == 401
    assert server.is_active(tokens["access_token"])


def test_revocations_survive_an_emptied_redis(server: Server) -> None:
    tokens, others = server.tokens(), server.tokens()
    server.post("/revoke", TALLY, token=tokens["access_token"])
    server.post("/revoke", TALLY, token=others["refresh_token"])
    alive = server.tokens()
    server.services.store.client.flushall()
    assert not server.is_active(tokens["access_token"])
    assert not server.is_active(others["access_token"])
    assert server.is_active(alive["access_token"])


def test_many_who_ask_an_emptied_redis_at_once_are_all_answered(server: Server) -> None:
    """One of them rebuilds the set, and the others wait for it."""
    token, barrier = server.tokens()["access_token"], threading.Barrier(16)
    for _ in range(3):
        server.services.store.client.flushall()

        def one(_: int) -> bool:
            barrier.wait()
            return server.is_active(token)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(one, range(16)))


def test_introspection_is_503_while_somebody_rebuilds(server: Server) -> None:
    token = server.tokens()["access_token"]
    server.services.store.client.flushall()
    marker = f"{server.services.store.prefix}:revoked-run-id"
    server.services.store.client.set(marker, "rebuilding in another process")
    response = server.post("/introspect", INVOICES, token=token)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    server.services.store.client.delete(marker)
    assert server.is_active(token)


def test_another_redis_is_noticed(tmp_path: Path, own_redis: RedisServer) -> None:
    """A restarted Redis may have loaded an old copy; its new run_id shows that it was restarted."""
    server = make_server(make_settings(tmp_path, own_redis.url))
    tokens = server.tokens()
    server.post("/revoke", TALLY, token=tokens["access_token"])
    alive = server.tokens()
    own_redis.stop()
    own_redis.start()
    # the restored copy is marked as complete, but is not
    server.services.store.client.set(f"{server.services.store.prefix}:revoked-run-id", "the run id of long ago")
    assert not server.is_active(tokens["access_token"])
    assert server.is_active(alive["access_token"])


def test_a_dead_redis_is_503_and_heals(tmp_path: Path, own_redis: RedisServer) -> None:
    server = make_server(make_settings(tmp_path, own_redis.url))
    tokens = server.tokens()
    code = server.code()
    browser = server.browser()
    browser.sign_in()
    own_redis.stop()
    calls: dict[str, Any] = {
        "introspect": lambda: server.post("/introspect", INVOICES, token=tokens["access_token"]),
        "redeem": lambda: server.redeem(code),
        "revoke": lambda: server.post("/revoke", TALLY, token=tokens["access_token"]),
        "pages": lambda: browser.client.get("/apps"),
    }
    for name, call in calls.items():
        response = call()
        assert response.status_code == 503, name
        assert response.headers["Retry-After"], name
    answer = browser.request()
    assert answer.status_code == 303
    assert "error=temporarily_unavailable" in answer.location
    assert server.app.test_client().get("/readyz").status_code == 503
    assert server.app.test_client().get("/healthz").status_code == 200
    assert server.app.test_client().get("/jwks").status_code == 200
    own_redis.start()
    assert server.post("/revoke", TALLY, token=tokens["access_token"]).status_code == 200, "it can be repeated"
    assert not server.is_active(tokens["access_token"])
    assert server.app.test_client().get("/readyz").status_code == 200


def test_a_full_redis_is_503_and_heals(
    tmp_path: Path, own_redis: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """`noeviction`: a request whose data cannot be stored is refused, and leaves no partial result."""
    server = make_server(make_settings(tmp_path, own_redis.url))
    tokens, others, code = server.tokens(), server.tokens(), server.code()
    signed_in, stranger = server.browser(), server.browser()
    signed_in.sign_in()
    form = {"csrf_token": csrf_token(stranger.client.get("/sign-in")), "username": "bob", "password": PASSWORDS["bob"]}
    assert server.is_active(tokens["access_token"])
    store = server.services.store.client
    store.config_set("maxmemory", 1)
    try:
        assert server.is_active(tokens["access_token"]), "requests that only read still succeed"
        assert server.refresh(tokens["refresh_token"]).status_code == 200
        # a replay ends the authorization, which can be recorded even now
        assert [server.redeem(code).status_code for _ in range(3)] == [200, 400, 400], "a code is used once"
        assert server.post("/revoke", TALLY, token=tokens["access_token"]).status_code == 200
        assert not server.is_active(tokens["access_token"])
        assert server.is_active(others["access_token"]), "a revocation leaves the others valid"
        calls: dict[str, Any] = {
            "sign in": lambda: stranger.client.post("/sign-in", data=form),
            "count a failure": lambda: server.post("/token", basic("tally", "x" * 43), grant_type="refresh_token"),
        }
        for name, call in calls.items():
            answer = call()
            assert answer.status_code == 503, name
            assert answer.headers["Retry-After"], name
        for browser in (signed_in, stranger):
            capsys.readouterr()
            told = query(browser.request(scope="invoices:pay").location)
            assert (told["error"], told["state"]) == ("temporarily_unavailable", "st4te")
            [line] = [line for line in capsys.readouterr().out.splitlines() if "store unavailable" in line]
            assert "maxmemory" in line, "the log has the cause"
    finally:
        store.config_set("maxmemory", 0)
    assert server.redeem(code).json == {**server.redeem("none").json, "error_description": ANY}
    assert stranger.client.post("/sign-in", data=form).status_code == 303
    assert not server.is_active(tokens["access_token"])


@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="takes the SQLite file away; tests/compose stops PostgreSQL")
@pytest.mark.parametrize("path", ["/token", "/introspect", "/revoke"])
def test_a_dead_database_is_503(server: Server, path: str, tmp_path: Path) -> None:
    tokens = server.tokens()
    server.services.registry._clients.clear()
    server.forget_scopes()
    server.services.database.engine.dispose()
    (tmp_path / "auth.db").rename(tmp_path / "away.db")
    for leftover in tmp_path.glob("auth.db-*"):
        leftover.unlink()
    (tmp_path / "auth.db").mkdir()
    headers = INVOICES if path == "/introspect" else TALLY
    response = server.post(
        path, headers, token=tokens["access_token"], grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert response.status_code == 503
    assert response.json["error"] == "temporarily_unavailable"
    assert response.headers["Retry-After"]
    (tmp_path / "auth.db").rmdir()
    (tmp_path / "away.db").rename(tmp_path / "auth.db")
    server.services.database.engine.dispose()
    assert server.is_active(tokens["access_token"])
