"""The rebuild of the set of revoked tokens at volume (`make test-long PART=rebuild`)."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from rolecall import clock
from rolecall_auth.models import revocation_rebuild
from support.auth_server import INVOICES, RESOURCE, TALLY, Server, make_server, make_settings
from support.servers import RedisServer

ENDED, RECENT = 5_000_000, 200_000
"""The number of ended authorizations, and of recent ones, whose access tokens may not have expired."""

LIFETIME = 3600
WORKER_GROWTH = 50 << 20
MAXMEMORY = 200 << 20

pytestmark = [pytest.mark.long, pytest.mark.database, pytest.mark.timeout(1500)]


def insert(server: Server) -> None:
    """Insert the rows in one statement: the recent ones ended in the last half hour, the others 2 to 23 hours ago."""
    engine = server.services.database.engine
    is_postgres = engine.dialect.name == "postgresql"
    numbers = f"""(WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ENDED - 1})
        SELECT n FROM numbers)"""
    source = f"generate_series(0, {ENDED - 1}) AS numbers (n)" if is_postgres else numbers
    age = f"""CASE WHEN n < {RECENT} THEN 1800.0 * n / {RECENT}
        ELSE 7200.0 + 75600.0 * (n - {RECENT}) / {ENDED - RECENT} END"""
    statement = f"""
        INSERT INTO authorization_grant (id, user_id, client_id, resource, scope, auth_time, created_at, used_at,
            token_format, token_lifetime, ended_at, end_reason)
        SELECT 'ended-' || (10000000 + n), :user_id, 'tally', '{RESOURCE}', 'invoices:read',
            :now - {age} - 60, :now - {age} - 60, :now - {age} - 30,
            'jwt', {LIFETIME}, :now - {age}, 'revoked by the client'
        FROM {source}"""
    with engine.connect() as connection:
        if is_postgres:  # it may take longer than a request
            connection.connection.driver_connection.patience = None  # type: ignore[union-attr]
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        inserted = connection.execute(sa.text(statement), {"user_id": server.ids["alice"], "now": clock.now()})
        assert inserted.rowcount == ENDED
        connection.commit()
        if is_postgres:
            connection.invalidate()


class Watch:
    """The peak memory of this process, and the responses of introspection, while the block runs."""

    def __init__(self, server: Server, tokens: dict[str, str]) -> None:
        self.server, self.tokens = server, tokens
        self.process = psutil.Process()
        self.peak = self.before = 0
        self.results = {name: Counter[str]() for name in tokens}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Watch:
        self.peak = self.before = self.process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def introspect(self, name: str) -> str:
        response = self.server.post("/introspect", INVOICES, token=self.tokens[name])
        body: Any = response.json
        result = str(body["active"]) if response.status_code == 200 else str(response.status_code)
        self.results[name][result] += 1
        return result


def test_five_million_ended_authorizations(
    tmp_path: Path, own_redis: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_rebuild, "REBUILD_WAIT", 1.0)  # as in production
    server = make_server(make_settings(tmp_path, own_redis.url, lab=False, access_token_lifetime=LIFETIME))
    client, timings = server.services.store.client, {}
    client.config_set("maxmemory", MAXMEMORY)
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    tokens = {name: server.tokens()["access_token"] for name in ("alive", "revoked", "revoked during it")}
    server.post("/revoke", TALLY, token=tokens["revoked"])
    assert [server.is_active(tokens[name]) for name in ("alive", "revoked")] == [True, False]
    started = time.monotonic()
    insert(server)
    timings["insert"] = time.monotonic() - started
    client.flushall()
    with Watch(server, tokens) as watch:
        started = time.monotonic()
        while watch.introspect("alive") != "True":
            watch.introspect("revoked")
            if watch.results["alive"].total() == 3:
                assert server.post("/revoke", TALLY, token=tokens["revoked during it"]).status_code == 200
            if watch.results["alive"].total() > 3:
                watch.introspect("revoked during it")
            assert time.monotonic() - started < 600
            time.sleep(0.05)
        timings["rebuild"] = time.monotonic() - started
    for name in ("revoked", "revoked during it"):
        assert watch.introspect(name) == "False"
    figures = {
        **{f"{name}_s": round(seconds, 1) for name, seconds in timings.items()},
        "grown_mb": round((watch.peak - watch.before) / (1 << 20), 1),
        "redis_mb": round(client.info("memory")["used_memory_peak"] / (1 << 20), 1),
        "results": {name: dict(results) for name, results in watch.results.items()},
    }
    with capsys.disabled():
        sys.stdout.write(f"{figures}\n")
    assert "True" not in watch.results["revoked"]
    assert set(watch.results["revoked during it"]) <= {"False"}
    assert set(watch.results["alive"]) <= {"503", "True"}
    assert RECENT <= len(list(client.scan_iter("auth:revoked:*", 10_000))) <= RECENT + 3
    assert client.info("memory")["used_memory_peak"] < MAXMEMORY
    assert watch.peak - watch.before <= WORKER_GROWTH
