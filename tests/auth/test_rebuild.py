"""The rebuild of the set of revoked tokens: it has one owner, runs in batches, and never activates a revoked token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from rolecall import clock
from rolecall.clock import Clock
from rolecall.metrics import REVOCATION_REBUILDS, REVOCATIONS_LOADED
from rolecall_auth import create_app
from rolecall_auth.models import revocation_entries, revocation_rebuild
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.revocation_entries import WHOLE, Entry
from rolecall_auth.models.revocation_rebuild import LEASE, RETRY
from rolecall_auth.settings import MAX_LIFETIME
from support.auth_server import (
    INVOICES,
    RESOURCE,
    TALLY,
    Server,
    another_process,
    make_server,
    make_settings,
)
from support.stack import wait_until

pytestmark = pytest.mark.database


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Server:
    """Return a server with the production settings, under which expired entries are kept for a minute only."""
    return make_server(make_settings(tmp_path, redis_url, lab=False))


class Held:
    """A rebuild that waits before each batch until `step` lets it continue."""

    def __init__(self, server: Server) -> None:
        self.server, self.client = server, server.services.store.client
        self.rebuild = server.services.revocations._rebuild
        self.owners: list[bytes] = []
        self.sizes: list[int] = []
        self._arrived, self._go_on = threading.Semaphore(0), threading.Semaphore(0)
        self._genuine, self._work = self.rebuild._write, self.rebuild._work

    def write(self, client: redis.Redis, attempt: bytes, batch: list[Entry]) -> bool:
        self._arrived.release()
        assert self._go_on.acquire(timeout=60)
        self.sizes.append(len(batch))
        return self._genuine(client, attempt, batch)

    def work(self, context: Any, client: redis.Redis, attempt: bytes, run_id: bytes) -> None:
        self.owners.append(attempt)
        self._work(context, client, attempt, run_id)
        self._arrived.release()

    def start(self) -> None:
        """Empty Redis, and return when the first batch is about to be written."""
        self.client.flushall()
        assert self.introspect("no token of anyone") == 503
        self.arrived()

    def arrived(self) -> None:
        assert self._arrived.acquire(timeout=60)

    def step(self) -> None:
        """Let it write one batch, and return when the next one is about to be written or the rebuild has ended."""
        self._go_on.release()
        self.arrived()

    def finish(self) -> None:
        for _ in range(100):
            self._go_on.release()
        wait_until(lambda: not [each for each in threading.enumerate() if each.name == "revocations"])

    def introspect(self, token: str) -> int | bool:
        """Return whether the token is active, or the status of an error; a text without a dot is an unknown token."""
        if "." not in token:
            with self.server.app.app_context(), pytest.raises(Exception, match="temporarily_unavailable"):
                self.server.services.revocations.is_revoked(token, token)
            return 503
        response = self.server.post("/introspect", INVOICES, token=token)
        return response.status_code if response.json is None or response.status_code != 200 else response.json["active"]

    def age(self, seconds: float) -> None:
        """Let this many seconds of the lease pass."""
        left = self.client.pttl(self.rebuild.marker) - round(seconds * 1000)
        assert left > 0, "the lease has expired"
        self.client.pexpire(self.rebuild.marker, left)


@pytest.fixture
def held(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Return a rebuild in batches of one row, for which requests do not wait."""
    monkeypatch.setattr(revocation_entries, "BATCH", 1)
    monkeypatch.setattr(revocation_rebuild, "REBUILD_WAIT", 0)
    with holding(server, monkeypatch) as rebuild:
        yield rebuild


@contextmanager
def holding(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    rebuild = Held(server)
    monkeypatch.setattr(rebuild.rebuild, "_write", rebuild.write)
    monkeypatch.setattr(rebuild.rebuild, "_work", rebuild.work)
    yield rebuild
    rebuild.finish()


def ended(server: Server, seconds: float, lifetime: int | None = 300, **values: Any) -> str:
    """Return the id of an authorization that ended this many seconds ago."""
    row = Authorization(
        **{
            "user_id": server.ids["alice"],
            "client_id": "tally",
            "resource": RESOURCE,
            "scope": "invoices:read",
            "auth_time": 1.0,
            "used_at": 1.0,
            "token_lifetime": lifetime,
            "ended_at": clock.now() - seconds,
            **values,
        }
    )
    server.add(row)
    return row.id


def loaded(server: Server) -> set[str]:
    return {key.decode().split("{")[1].rstrip("}") for key in server.redis_keys("revoked:*")}


def rebuilt(server: Server) -> None:
    """Empty Redis and have the set rebuilt."""
    server.services.store.client.flushall()
    with server.app.app_context():
        assert not server.services.revocations.is_revoked("a token of", "no one")


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log messages since the last call."""
    found = [record.message for record in caplog.records]
    caplog.clear()
    return found


def final_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Wait until the rebuild has ended, because it logs after requests continue; then return the log messages."""
    wait_until(lambda: not [each for each in threading.enumerate() if each.name == "revocations"])
    return messages(caplog)


def test_a_rebuild_that_takes_longer_than_its_lease_has_one_owner_and_completes(
    server: Server, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [ended(server, 10) for _ in range(5)]
    token = server.tokens()["access_token"]
    held.start()
    for _ in rows:
        held.age(LEASE * 0.4)
        assert held.introspect(token) == 503
        assert "revocations rebuilt" not in messages(caplog)
        held.step()
    held.finish()
    assert len(held.owners) == 1
    assert held.introspect(token) is True
    assert loaded(server) == {*rows}
    assert "revocations rebuilt" in final_messages(caplog)


def test_tokens_are_inactive_or_unknown_until_the_set_is_complete(server: Server, held: Held) -> None:
    """RFC 7662 section 4: a revoked token is never active, and a 503 reveals nothing about the others."""
    revoked, single, alive = (server.tokens()["access_token"] for _ in range(3))
    with server.services.database.read() as session:
        of_revoked = session.scalars(sa.select(Authorization.id).order_by(Authorization.created_at)).first()
    server.services.revocations.end("test", Authorization.id == of_revoked)
    server.post("/revoke", TALLY, token=single)
    server.services.revocations.revoke_token("another", "token", clock.now() + 9000)
    held.start()
    assert [held.introspect(token) for token in (revoked, single, alive)] == [503, 503, 503]
    held.step()
    assert [held.introspect(token) for token in (revoked, single, alive)] == [False, 503, 503]
    held.step()
    assert [held.introspect(token) for token in (revoked, single, alive)] == [False, False, 503]
    held.finish()
    assert [held.introspect(token) for token in (revoked, single, alive)] == [False, False, True]


def test_revocations_during_the_rebuild_are_effective_at_once_and_afterwards(server: Server, held: Held) -> None:
    ended(server, 10)
    ended(server, 9)
    tokens, others = server.tokens(), server.tokens()
    held.start()
    held.step()
    assert server.post("/revoke", TALLY, token=tokens["access_token"]).status_code == 200
    assert server.post("/revoke", TALLY, token=others["refresh_token"]).status_code == 200
    for _ in range(2):
        assert [held.introspect(each["access_token"]) for each in (tokens, others)] == [False, False]
        held.finish()


LOSSES: dict[str, Callable[[redis.Redis, str], Any]] = {
    "another owner": lambda client, marker: client.set(marker, "rebuilding elsewhere", px=60_000),
    "expired": lambda client, marker: client.delete(marker),
    "emptied": lambda client, _marker: client.flushall(),
    "finished by another": lambda client, marker: client.set(marker, client.info("server")["run_id"]),
}


@pytest.mark.parametrize("when", ["before a batch", "after the last"])
@pytest.mark.parametrize("how", LOSSES)
def test_an_attempt_that_lost_its_lease_stops(
    server: Server, held: Held, how: str, when: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ended(server, 10) for _ in range(3 if when == "before a batch" else 1)]
    held.start()
    genuine = held._genuine

    def lose(*batch: Any) -> bool:
        if when == "before a batch":
            LOSSES[how](held.client, held.rebuild.marker)
        written = genuine(*batch)
        if when != "before a batch" and len(held.sizes) == len(rows):
            LOSSES[how](held.client, held.rebuild.marker)
        return written

    monkeypatch.setattr(held, "_genuine", lose)
    messages(caplog)
    held.finish()
    printed = messages(caplog)
    assert "rebuild of the revocations stopped: Redis was emptied, or another one has started" in printed
    assert "revocations rebuilt" not in printed
    if when == "before a batch":
        assert loaded(server) == set(), "it wrote nothing without the lease"
        assert len(held.sizes) == 1
    assert held.client.get(held.rebuild.marker) != held.owners[0]


def test_memory_does_not_grow_with_the_rows(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {ended(server, 10 + number // 4) for number in range(10)}
    rows |= {ended(server, 10, lifetime) for lifetime in (None, 600, 900)}
    for number in range(5):
        row = revocation_entries.Revocation(token_id=f"t{number}", authorization_id="one", expires_at=clock.now() + 9)
        server.add(row)
    fetched: list[int] = []
    genuine, written = revocation_entries._page, server.services.revocations._rebuild._write

    def page(*query: Any) -> Any:
        found = genuine(*query)
        fetched.append(len(found))
        return found

    def write(client: redis.Redis, attempt: bytes, batch: list[Entry]) -> bool:
        assert len(batch) <= 3
        return written(client, attempt, batch)

    monkeypatch.setattr(revocation_entries, "BATCH", 3)
    monkeypatch.setattr(revocation_entries, "_page", page)
    monkeypatch.setattr(server.services.revocations._rebuild, "_write", write)
    rebuilt(server)
    assert (max(fetched), sum(fetched)) == (3, 18)
    assert loaded(server) == rows | {"one"}
    assert server.services.store.client.smembers(f"{server.services.store.prefix}:revoked:{{one}}") == {
        f"t{number}".encode() for number in range(5)
    }


def test_entries_are_loaded_and_kept_while_the_longest_token_lives(server: Server) -> None:
    keep = server.services.settings.keep_expired
    expected = {
        ended(server, 100): 300 - 100,
        ended(server, 3000, 3600): 3600 - 3000,
        ended(server, 3000, None): MAX_LIFETIME - 3000,
    }
    for old in (300, 3600, None):
        ended(server, (old or MAX_LIFETIME) + keep + 5, old)
    ended(server, 10, None, used_at=None)
    rebuilt(server)
    assert loaded(server) == {*expected}
    for authorization_id, seconds in expected.items():
        ttl = server.services.store.client.ttl(f"{server.services.store.prefix}:revoked:{{{authorization_id}}}")
        assert seconds + keep - 60 < ttl <= seconds + keep + 1


def test_an_authorization_that_ends_is_kept_while_its_longest_token_lives(server: Server) -> None:
    first = server.tokens()
    lifetime = server.services.settings.access_token_lifetime
    longer = another_process(server, access_token_lifetime=7200)
    second = longer.refresh(first["refresh_token"]).json
    last = server.refresh(second["refresh_token"]).json
    assert last["expires_in"] == lifetime
    server.post("/revoke", TALLY, token=last["access_token"])
    [key] = server.redis_keys("revoked:*")
    ttl = server.services.store.client.ttl
    assert ttl(key) <= lifetime + 61
    server.post("/revoke", TALLY, token=last["refresh_token"])
    assert 7200 < ttl(key) <= 7200 + 61
    server.services.revocations.revoke_token(key.decode().split("{")[1].rstrip("}"), "short", clock.now() + 5)
    assert ttl(key) > 7200, "never shortened"
    clock.set_offset(7100)
    assert not server.is_active(second["access_token"])


def test_the_progress_is_logged_and_counted(
    server: Server, held: Held, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_rebuild, "PROGRESS", 0)
    for _ in range(3):
        ended(server, 10)

    def value(metric: Any) -> float:
        return float(metric._value.get())

    before = value(REVOCATIONS_LOADED)
    assert value(REVOCATION_REBUILDS) == 0
    held.start()
    assert value(REVOCATION_REBUILDS) == 1
    held.step()
    held.step()
    assert [(record.message, record.loaded, record.total) for record in caplog.records] == [
        ("revocations are being rebuilt", 1, 3),
        ("revocations are being rebuilt", 2, 3),
    ]
    held.finish()
    assert value(REVOCATION_REBUILDS) == 0
    assert value(REVOCATIONS_LOADED) == before + 3


def test_a_rebuild_that_failed_is_repeated_by_a_later_request(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = ended(server, 10)
    client, rebuild = server.services.store.client, server.services.revocations._rebuild
    monkeypatch.setattr(revocation_rebuild, "REBUILD_WAIT", 0)
    with monkeypatch.context() as patched:
        patched.setattr(rebuild, "_write", lambda *_: 1 / 0)
        with server.app.app_context(), pytest.raises(Exception, match="temporarily_unavailable"):
            client.flushall() and server.services.revocations.is_revoked(row, "any")
        wait_until(lambda: 0 < client.pttl(rebuild.marker) <= RETRY * 1000 or not client.exists(rebuild.marker))
    assert "rebuild of the revocations failed" in final_messages(caplog)
    client.delete(rebuild.marker)
    monkeypatch.setattr(revocation_rebuild, "REBUILD_WAIT", 60)
    with server.app.app_context():
        assert server.services.revocations.is_revoked(row, "any")


def test_a_page_of_rows_that_the_database_does_not_return_is_read_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, failures = ended(server, 10), [sa.exc.TimeoutError("busy")]
    monkeypatch.setattr(revocation_entries, "_PAUSE", 0)
    genuine = server.services.database.read

    def read() -> Any:
        if failures:
            raise failures.pop()
        return genuine()

    page = sa.select(Authorization.ended_at, Authorization.id)
    monkeypatch.setattr(server.services.database, "read", read)
    assert [found.id for found in revocation_entries._page(server.services.database, page)] == [row]


def test_entries_that_could_not_be_added_need_no_rebuild(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokens, others, alive = server.tokens(), server.tokens(), server.tokens()
    assert server.is_active(alive["access_token"])
    final_messages(caplog)
    with monkeypatch.context() as patched:
        patched.setattr(server.services.revocations, "_add", lambda _: (_ for _ in ()).throw(redis.TimeoutError("cut")))
        for each in (tokens["access_token"], others["refresh_token"]):
            assert server.post("/revoke", TALLY, token=each).status_code == 503
        assert server.post("/introspect", INVOICES, token=tokens["access_token"]).status_code == 503
    assert server.is_active(alive["access_token"])
    assert not server.is_active(tokens["access_token"])
    assert not server.is_active(others["access_token"])
    assert "revocations rebuilt" not in final_messages(caplog)
    assert not server.services.revocations._missing


def test_entries_that_could_not_be_added_are_added_by_the_next_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes reject the tokens before this process receives another request."""
    tokens, others = server.tokens(), server.tokens()
    with monkeypatch.context() as patched:
        patched.setattr(server.services.revocations, "_add", lambda _: (_ for _ in ()).throw(redis.TimeoutError("cut")))
        for each in (tokens["access_token"], others["refresh_token"]):
            assert server.post("/revoke", TALLY, token=each).status_code == 503
    server.services.store.client.connection_pool.disconnect()
    server.services.store.client.ping()
    for each in (tokens, others):
        assert not another_process(server).is_active(each["access_token"])


def test_too_many_entries_that_could_not_be_added_are_rebuilt(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokens, others = server.tokens(), server.tokens()
    with monkeypatch.context() as patched:
        patched.setattr("rolecall_auth.models.revocation.BATCH", 1)
        patched.setattr(server.services.revocations, "_add", lambda _: (_ for _ in ()).throw(redis.TimeoutError("cut")))
        for each in (tokens, others):
            assert server.post("/revoke", TALLY, token=each["refresh_token"]).status_code == 503
    final_messages(caplog)
    for each in (tokens, others):
        assert not server.is_active(each["access_token"])
    assert "revocations rebuilt" in final_messages(caplog)


def test_more_entries_than_a_batch_are_added(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [ended(server, 0, ended_at=None) for _ in range(5)]
    monkeypatch.setattr("rolecall_auth.models.revocation.BATCH", 2)
    assert server.services.revocations.end("test", Authorization.client_id == "tally") == 5
    assert loaded(server) == {*rows}
    assert server.services.store.client.smembers(f"{server.services.store.prefix}:revoked:{{{rows[4]}}}") == {
        WHOLE.encode()
    }


def test_the_rebuild_uses_the_clock_of_its_application(tmp_path: Path, redis_url: str) -> None:
    own_clock = Clock()
    own_clock.offset = -10 * MAX_LIFETIME
    settings = make_settings(tmp_path, redis_url, lab=False)
    app = create_app(settings, own_clock)
    server = make_server(settings)
    with app.app_context():
        row = ended(server, 10)
        services = app.extensions["rolecall_auth"]
        assert services.revocations.is_revoked("other", "token") is False
    assert loaded(server) == {row}
    services.store.client.close()
    services.database.engine.dispose()


def test_the_queries_use_the_indexes(server: Server) -> None:
    statements: list[tuple[str, Any]] = []
    engine = server.services.database.engine
    for lifetime in (None, 300):
        ended(server, 10, lifetime)

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", keep)
    revocation_entries.count(server.services.database, 1.0)
    list(revocation_entries.batches(server.services.database, 1.0))
    sa.event.remove(engine, "before_cursor_execute", keep)
    assert len(statements) > 6
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")
            connection.exec_driver_sql("SET enable_bitmapscan = off")
        for statement, parameters in statements:
            explain = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
            plan = str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
            index = (
                "ix_revocation_expires_at"
                if "FROM revocation" in statement
                else ("ix_authorization_grant_token_lifetime")
            )
            assert index in plan, (statement, plan)
            assert "TEMP B-TREE FOR ORDER BY" not in plan
