"""The sweep removes rows that are no longer needed, and no others."""

from __future__ import annotations

import os
import threading

import pytest
import sqlalchemy as sa

from rolecall import clock
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_auth import sweep as sweeping
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.key import SigningKey
from rolecall_auth.models.revocation_entries import Revocation
from rolecall_auth.models.token import RefreshToken
from rolecall_auth.sweep import sweep, sweep_if_due
from support.auth_server import TALLY, Server

pytestmark = pytest.mark.database

DAY = 86400

NOTHING_ELSE = dict.fromkeys(("signing_key", "initial_access_token", "client"), 0)


def rows(server: Server, model: type) -> int:
    with server.services.database.read() as session:
        return int(session.scalar(sa.select(sa.func.count()).select_from(model)) or 0)


def test_a_family_that_is_used_stays_and_its_old_tokens_go(server: Server) -> None:
    first = server.tokens()["refresh_token"]
    for day in (10, 20, 30):
        clock.set_offset(day * DAY)
        first = server.refresh(first).json["refresh_token"]
    assert rows(server, RefreshToken) == 4
    assert sweep(server.services)["refresh_token"] == 2, "idle for two weeks, and a day more"
    assert rows(server, Authorization) == 1
    again = server.refresh(first).json
    assert server.is_active(again["access_token"])


def test_a_replay_is_noticed_as_long_as_it_would_be_without_the_sweep(server: Server) -> None:
    """RFC 9700 section 4.14.2."""
    old = server.tokens()["refresh_token"]
    new = server.refresh(old).json
    clock.set_offset(13 * DAY)
    sweep(server.services)
    assert server.refresh(old).json["error"] == "invalid_grant"
    assert server.refresh(new["refresh_token"]).json["error"] == "invalid_grant", "the family has ended"


def test_what_nobody_used_what_ended_and_what_ran_out(server: Server) -> None:
    server.code()
    revoked = server.tokens()
    server.post("/revoke", TALLY, token=revoked["refresh_token"])
    one = server.tokens()["access_token"]
    server.post("/revoke", TALLY, token=one)
    server.app.test_cli_runner().invoke(args=["keys", "rotate"])
    assert set(sweep(server.services).values()) == {0}
    clock.set_offset(DAY + 290)
    assert sweep(server.services)["authorization_grant"] == 0, "its last access token may still be introspected"
    clock.set_offset(DAY + 400)
    assert sweep(server.services) == {"refresh_token": 0, "authorization_grant": 2, "revocation": 1, **NOTHING_ELSE}
    assert rows(server, RefreshToken) == 1
    clock.set_offset(DAY + 700)
    assert sweep(server.services)["signing_key"] == len(ID_TOKEN_ALGORITHMS)
    clock.set_offset(16 * DAY)
    assert sweep(server.services) == {"refresh_token": 1, "authorization_grant": 1, "revocation": 0, **NOTHING_ELSE}
    for model in (RefreshToken, Authorization, Revocation):
        assert rows(server, model) == 0
    assert rows(server, SigningKey) == len(ID_TOKEN_ALGORITHMS)


def test_a_revoked_token_stays_revoked_until_its_end(server: Server) -> None:
    tokens = server.tokens()
    server.post("/revoke", TALLY, token=tokens["refresh_token"])
    sweep(server.services)
    server.services.store.client.flushall()
    assert not server.is_active(tokens["access_token"])


def test_many_rows_go_in_small_steps_while_others_write(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 7)
    with server.services.database.transaction() as session:
        session.add_all(Revocation(token_id=f"t{n}", authorization_id="a", expires_at=1.0) for n in range(50))
    refresh = server.tokens()["refresh_token"]
    swept = threading.Thread(target=lambda: sweep(server.services))
    swept.start()
    for _ in range(5):
        response = server.refresh(refresh)
        assert response.status_code == 200
        refresh = response.json["refresh_token"]
    swept.join(60)
    assert rows(server, Revocation) == 0


@pytest.mark.skipif("DATABASE_URL" not in os.environ, reason="SQLite has no locks of rows")
def test_a_row_that_somebody_holds_is_not_waited_for(server: Server) -> None:
    def is_old(number: int) -> Revocation:
        return Revocation(token_id=f"t{number}", authorization_id="a", expires_at=1.0)

    with server.services.database.transaction() as session:
        session.add_all(map(is_old, range(3)))
    with server.services.database.transaction() as session:
        session.get_one(Revocation, "t1", with_for_update=True)
        assert sweep(server.services)["revocation"] == 2
    assert sweep(server.services)["revocation"] == 1


def test_one_of_many_workers_sweeps_in_an_hour(server: Server) -> None:
    def old() -> None:
        with server.services.database.transaction() as session:
            session.add(Revocation(token_id="t", authorization_id="a", expires_at=1.0))

    old()
    with server.app.app_context():
        sweep_if_due()
        assert rows(server, Revocation) == 0
        old()
        sweep_if_due()
    assert rows(server, Revocation) == 1, "it was swept a moment ago"
    assert "revocation: 1" in server.app.test_cli_runner().invoke(args=["sweep"]).output


def test_the_lab_does_not_sweep_by_itself(server: Server) -> None:
    assert server.services.settings.lab
    assert "rolecall_periodic" not in server.app.extensions
