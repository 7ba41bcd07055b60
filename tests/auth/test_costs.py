"""The cost of each request: SQL statements, writing transactions, and round trips to Redis; none of them may grow.

These figures do not depend on the machine. Clients, resources, and keys are cached, as they are under load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import sqlalchemy as sa
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall_auth.jose import signing_keys
from rolecall_auth.models import registry
from support import openid
from support.auth_server import INVOICES, TALLY, Server, authorize_url, query, with_scope
from support.grants import SERVICE, a_service
from support.invoices_api import an_api, an_invoice
from support.invoices_api import claims as api_claims
from support.invoices_api import token as api_token
from support.signing import claims as assertion_claims
from support.signing import jwks, present, signed

OPENID = "openid email offline_access invoices:read"
PAIRWISE = "openid email offline_access"


class Cost(NamedTuple):
    """`reads` is the number of transactions that only read, and `writes` of the others."""

    statements: int
    reads: int
    writes: int
    round_trips: int = 0


@contextmanager
def metered(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Cost]]:
    """Count until the end of the block; the function returns the cost so far."""
    counts = {"statements": 0, "reads": 0, "writes": 0, "round_trips": 0}

    def statement(*_: Any) -> None:
        counts["statements"] += 1

    def begin(*_: Any) -> None:
        counts["reads"] += 1

    def commit(*_: Any) -> None:
        counts["reads"] -= 1
        counts["writes"] += 1

    connection = redis.connection.AbstractConnection
    genuine = connection.send_packed_command

    def send(*arguments: Any, **named: Any) -> Any:
        counts["round_trips"] += 1
        return genuine(*arguments, **named)

    sa.event.listen(engine, "before_cursor_execute", statement)
    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "commit", commit)
    monkeypatch.setattr(connection, "send_packed_command", send)
    try:
        yield lambda: Cost(**counts)
    finally:
        monkeypatch.setattr(connection, "send_packed_command", genuine)
        sa.event.remove(engine, "before_cursor_execute", statement)
        sa.event.remove(engine, "begin", begin)
        sa.event.remove(engine, "commit", commit)


class Prepared:
    """A server on which everything has been done once, and requests that can be sent again."""

    def __init__(self, server: Server, client: dict[str, str], scope: str, **changes: str) -> None:
        self.server = server
        self.headers = client
        self.changes = {"scope": scope, **changes}
        self.browser = server.browser()
        self.browser.sign_in()
        self.redeem(self.browser.authorize(**self.changes)["code"])
        self.tokens = dict(self.redeem(self.code()).json or {})
        with server.app.app_context():  # the first introspection builds the set of revoked tokens
            server.services.revocations.is_revoked("none", "none")

    def code(self) -> str:
        return query(self.browser.client.get(authorize_url(**self.changes)).location)["code"]

    def redeem(self, code: str) -> TestResponse:
        return self.server.redeem(code, self.headers, redirect_uri=self.changes.get("redirect_uri", openid.CALLBACK))

    def refresh(self) -> TestResponse:
        response = self.server.refresh(self.tokens["refresh_token"], self.headers)
        self.tokens = dict(response.json or {})
        return response

    def revoke(self, token: str) -> TestResponse:
        return self.server.post("/revoke", self.headers, token=token)


def plain(server: Server) -> Prepared:
    return Prepared(server, TALLY, "invoices:read", redirect_uri="http://tally.test/callback")


def with_openid(server: Server) -> Prepared:
    with_scope(server, OPENID)
    return Prepared(server, TALLY, OPENID, redirect_uri="http://tally.test/callback")


def pairwise(server: Server) -> Prepared:
    server.add(openid.relying_party(subject_type="pairwise"))
    return Prepared(server, openid.RP, PAIRWISE, client_id="rp", redirect_uri=openid.CALLBACK)


def authorize(prepared: Prepared) -> Callable[[], Any]:
    return prepared.code


def token(prepared: Prepared) -> Callable[[], Any]:
    code = prepared.code()
    return lambda: prepared.redeem(code)


def refresh(prepared: Prepared) -> Callable[[], Any]:
    return prepared.refresh


def refresh_with_an_unknown_token(prepared: Prepared) -> Callable[[], Any]:
    prepared.tokens["refresh_token"] = "unknown"
    return lambda: prepared.server.refresh("unknown", prepared.headers)


def authorize_with_a_consent_page(prepared: Prepared) -> Callable[[], Any]:
    def send() -> None:
        response = prepared.browser.request(**prepared.changes | {"scope": "invoices:pay"})
        assert "/consent" in response.location

    return send


def replay_a_code(prepared: Prepared, seconds: int = 0) -> Callable[[], Any]:
    code = prepared.code()
    assert prepared.redeem(code).status_code == 200
    clock.set_offset(seconds)
    return lambda: prepared.redeem(code)


def replay_an_expired_code(prepared: Prepared) -> Callable[[], Any]:
    return replay_a_code(prepared, prepared.server.services.settings.code_lifetime + 1)


def refresh_again(prepared: Prepared, seconds: int = 0) -> Callable[[], Any]:
    token = prepared.tokens["refresh_token"]
    prepared.refresh()
    clock.set_offset(seconds)
    return lambda: prepared.server.refresh(token, prepared.headers)


def replay_a_refresh_token(prepared: Prepared) -> Callable[[], Any]:
    return refresh_again(prepared, 11)


def client_credentials(prepared: Prepared) -> Callable[[], Any]:
    prepared.server.add(a_service())
    ask = partial(prepared.server.post, "/token", SERVICE, grant_type="client_credentials")
    assert ask().status_code == 200  # the first request stores the authorization
    return ask


def private_key_jwt(prepared: Prepared) -> Callable[[], Any]:
    method = {"token_endpoint_auth_method": "private_key_jwt", "secret_hash": None, "jwks": jwks()}
    prepared.server.add(a_service(client_id="signer", **method))

    def ask() -> TestResponse:
        return present(prepared.server, signed(assertion_claims()), grant_type="client_credentials")

    assert ask().status_code == 200
    return ask


def introspect(prepared: Prepared) -> Callable[[], Any]:
    return lambda: prepared.server.post("/introspect", INVOICES, token=prepared.tokens["access_token"])


def userinfo(prepared: Prepared) -> Callable[[], Any]:
    headers = {"Authorization": f"Bearer {prepared.tokens['access_token']}"}
    return lambda: prepared.server.app.test_client().get("/userinfo", headers=headers)


def revoke_access_token(prepared: Prepared) -> Callable[[], Any]:
    return lambda: prepared.revoke(prepared.tokens["access_token"])


def revoke_refresh_token(prepared: Prepared) -> Callable[[], Any]:
    return lambda: prepared.revoke(prepared.tokens["refresh_token"])


def key_set(prepared: Prepared) -> Callable[[], Any]:
    return lambda: prepared.server.app.test_client().get("/jwks")


def metadata(prepared: Prepared) -> Callable[[], Any]:
    return lambda: prepared.server.app.test_client().get("/.well-known/oauth-authorization-server")


COSTS = (
    (plain, authorize, Cost(2, 0, 1, 3)),
    (plain, authorize_with_a_consent_page, Cost(2, 0, 1, 6)),
    (plain, token, Cost(2, 0, 1, 1)),
    (plain, replay_a_code, Cost(5, 2, 1, 3)),
    (plain, replay_an_expired_code, Cost(4, 2, 1, 3)),
    (plain, refresh, Cost(4, 1, 1)),
    (plain, refresh_again, Cost(4, 1, 1)),
    (plain, refresh_with_an_unknown_token, Cost(1, 1, 0)),
    (plain, replay_a_refresh_token, Cost(5, 1, 2, 2)),
    (plain, client_credentials, Cost(1, 1, 0)),
    (plain, private_key_jwt, Cost(1, 1, 0, 2)),
    (plain, introspect, Cost(0, 0, 0, 1)),
    (plain, revoke_access_token, Cost(2, 1, 1, 2)),
    (plain, revoke_refresh_token, Cost(3, 1, 1, 2)),
    (plain, key_set, Cost(0, 0, 0)),
    (plain, metadata, Cost(0, 0, 0)),
    (with_openid, authorize, Cost(2, 0, 1, 3)),
    (with_openid, token, Cost(2, 0, 1, 1)),
    (with_openid, refresh, Cost(4, 1, 1)),
    (with_openid, userinfo, Cost(1, 1, 0, 1)),
    (pairwise, token, Cost(3, 0, 1, 1)),
    (pairwise, refresh, Cost(5, 1, 1)),
    (pairwise, userinfo, Cost(2, 1, 0, 1)),
)


@pytest.mark.parametrize(("kind", "request_of", "cost"), COSTS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_request_to_the_authorization_server(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[[Server], Prepared],
    request_of: Callable[[Prepared], Callable[[], Any]],
    cost: Cost,
) -> None:
    monkeypatch.setattr(registry, "MAX_AGE", 1e9)
    monkeypatch.setattr(signing_keys, "RELOAD_AFTER", 1e9)
    send = request_of(kind(server))
    with metered(server.services.database.engine, monkeypatch) as cost_so_far:
        send()
    assert cost_so_far() == cost


@pytest.mark.parametrize(("how", "asked"), [("jwt", 0), ("introspection", 1)])
def test_a_page_of_invoices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, asked: int) -> None:
    """`asked` is the number of requests to the authorization server."""
    with an_api(tmp_path, *(an_invoice(f"i{number}") for number in range(12))) as api:
        api.server.introspection = {"active": True, **api_claims()}
        good = api_token()
        assert api.get(token=good, how=how).status_code == 200
        before = len(api.server.asked)
        with metered(api.app.extensions["resource_database"].engine, monkeypatch) as cost_so_far:
            response = api.get(token=good, how=how)
        assert len((response.json or {})["invoices"]) == 12
        assert cost_so_far() == Cost(2, 1, 0)
        assert len(api.server.asked) - before == asked
