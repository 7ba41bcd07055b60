"""Refresh tokens: families, rotation, the grace (RFC 6749 section 6, RFC 9700 section 4.14)."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from rolecall import clock
from rolecall_auth.models.client import Client
from support.auth_server import SECRET, Server, a_client, basic, claims
from support.parallel import in_parallel

pytestmark = pytest.mark.database


def test_rotation_gives_new_tokens_of_the_same_authorization(server: Server) -> None:
    tokens = server.tokens(scope="invoices:read profile")
    fresh = server.refresh(tokens["refresh_token"]).json
    assert fresh["refresh_token"] != tokens["refresh_token"]
    assert claims(fresh["access_token"])["authorization_id"] == claims(tokens["access_token"])["authorization_id"]
    assert server.is_active(fresh["access_token"])


def test_scope_narrows_the_access_token_and_not_the_family(server: Server) -> None:
    """RFC 6749 section 6: the scope of the refresh token does not change."""
    tokens = server.tokens(scope="invoices:read profile")
    narrow = server.refresh(tokens["refresh_token"], scope="profile").json
    assert narrow["scope"] == claims(narrow["access_token"])["scope"] == "profile"
    wide = server.refresh(narrow["refresh_token"]).json
    assert wide["scope"] == "invoices:read profile"
    assert server.refresh(wide["refresh_token"], scope="invoices:pay").json["error"] == "invalid_scope"
    assert server.refresh(wide["refresh_token"]).status_code == 200, "a refused scope used the token up"


def test_what_a_client_may_not_have_any_more_is_not_given_again(server: Server) -> None:
    """RFC 6749 section 6 allows a narrower scope than was granted; the client may be registered for less since then."""
    tokens = server.tokens(scope="invoices:read profile")
    with server.services.database.transaction() as session:
        session.execute(sa.update(Client).values(scope="profile"))
    clock.set_offset(clock.offset() + 6)  # clients are read again every five seconds
    narrow = server.refresh(tokens["refresh_token"]).json
    assert narrow["scope"] == claims(narrow["access_token"])["scope"] == "profile"
    refused = server.refresh(narrow["refresh_token"], scope="invoices:read profile").json
    assert refused["error"] == "invalid_scope"
    with server.services.database.transaction() as session:
        session.execute(sa.update(Client).values(scope="invoices:pay"))
    clock.set_offset(clock.offset() + 6)  # clients are read again every five seconds
    assert server.refresh(narrow["refresh_token"]).json["error"] == "invalid_scope"


def test_a_foreign_client_ends_nothing(server: Server) -> None:
    server.add(a_client(client_id="other"))
    tokens = server.tokens()
    assert server.refresh(tokens["refresh_token"], basic("other", SECRET)).json["error"] == "invalid_grant"
    assert server.refresh(tokens["refresh_token"]).status_code == 200


def test_within_the_grace_the_old_token_gets_the_same_successor(server: Server) -> None:
    tokens = server.tokens()
    first = server.refresh(tokens["refresh_token"]).json
    second = server.refresh(tokens["refresh_token"]).json
    assert first["refresh_token"] == second["refresh_token"]
    assert first["access_token"] != second["access_token"]


def test_after_the_grace_an_old_token_ends_the_authorization(server: Server) -> None:
    tokens = server.tokens()
    fresh = server.refresh(tokens["refresh_token"]).json
    clock.set_offset(11)
    assert server.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"
    assert not server.is_active(fresh["access_token"])
    assert server.refresh(fresh["refresh_token"]).json["error"] == "invalid_grant"


def test_once_the_successor_was_used_the_grace_is_over(server: Server) -> None:
    tokens = server.tokens()
    fresh = server.refresh(tokens["refresh_token"]).json
    fresher = server.refresh(fresh["refresh_token"]).json
    assert server.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"
    assert not server.is_active(fresher["access_token"])


def test_32_parallel_refreshes_with_a_grace_carry_one_refresh_token(server: Server) -> None:
    tokens = server.tokens()
    answers = in_parallel(32, lambda: server.refresh(tokens["refresh_token"]))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json["refresh_token"] for answer in answers}) == 1
    assert len({answer.json["access_token"] for answer in answers}) == 32


def test_32_parallel_refreshes_without_a_grace_end_the_authorization(server: Server) -> None:
    server.add(a_client(client_id="strict", refresh_grace=0))
    strict = basic("strict", SECRET)
    code = server.code(client_id="strict")
    tokens = server.redeem(code, strict).json
    answers = in_parallel(32, lambda: server.refresh(tokens["refresh_token"], strict))
    good = [answer.json for answer in answers if answer.status_code == 200]
    assert len(good) <= 1
    assert {answer.json["error"] for answer in answers if answer.status_code != 200} == {"invalid_grant"}
    for fresh in [tokens, *good]:
        assert not server.is_active(fresh["access_token"])
        assert server.refresh(fresh["refresh_token"], strict).json["error"] == "invalid_grant"


@pytest.mark.parametrize(("days", "alive"), [(13, True), (15, False)])
def test_an_idle_token_expires(server: Server, days: int, alive: bool) -> None:
    tokens = server.tokens()
    clock.set_offset(days * 86400)
    assert (server.refresh(tokens["refresh_token"]).status_code == 200) == alive


def test_a_family_has_an_absolute_end(server: Server) -> None:
    token = server.tokens()["refresh_token"]
    for day in range(10, 90, 10):
        clock.set_offset(day * 86400)
        token = server.refresh(token).json["refresh_token"]
    clock.set_offset(91 * 86400)
    assert server.refresh(token).json["error"] == "invalid_grant"


def test_tokens_are_hashed_or_sealed_at_rest(server: Server) -> None:
    tokens = server.tokens()
    fresh = server.refresh(tokens["refresh_token"]).json
    with server.services.database.engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        raw = str([connection.execute(sa.text(f"SELECT * FROM {table}")).all() for table in tables])
    assert tokens["scope"] in raw, "nothing was read"
    store = server.services.store.client
    raw += str([(key, store.dump(key)) for key in store.keys("*")])
    for secret in (tokens["access_token"], tokens["refresh_token"], fresh["refresh_token"], SECRET):
        assert secret not in raw
