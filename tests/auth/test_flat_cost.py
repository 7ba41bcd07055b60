"""The SQL of requests does not depend on how many rows there are (`make test-long PART=volume`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import Consent
from rolecall_auth.models.revocation_entries import Revocation
from rolecall_auth.models.subject import PairwiseSubject
from rolecall_auth.models.token import RefreshToken
from rolecall_auth.models.user import User
from support.auth_server import TALLY, Server, authorize_url, make_server, make_settings, query
from support.grants import SERVICE, a_service
from support.openid import RP, relying_party
from support.openid import tokens as openid_tokens

ROWS = 1_000_000
"""The number of rows of each large table; all of the authorizations have ended."""

LARGE = (
    "client",
    "user_account",
    "authorization_grant",
    "refresh_token",
    "consent_scope",
    "pairwise_subject",
    "revocation",
)
"""Tables that grow with the number of clients and people."""

REFUSED = {"code replay": {400}, "refresh replay": {400}, "unknown client": {401}}
"""The status of the requests that the server refuses."""

PAIRWISE = "openid offline_access"

Statement = tuple[str, Any]

pytestmark = [pytest.mark.long, pytest.mark.database, pytest.mark.timeout(900)]


def multiply(server: Server, model: type[Any], **changes: str) -> None:
    """Copy one row of a table, with another value in each unique column, and with these SQL expressions."""
    engine = server.services.database.engine
    table: Any = sa.inspect(model).local_table
    unique = {column.name for column in table.columns if column.primary_key or column.unique}
    unique |= {column.name for index in table.indexes if index.unique for column in index.columns}
    names = [column.name for column in table.columns]
    values = [changes.get(name) or (f"'row-' || n || '-{name}'" if name in unique else f"one.{name}") for name in names]
    is_postgres = engine.dialect.name == "postgresql"
    numbers = f"(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {ROWS}) SELECT n FROM s)"
    source = f"generate_series(1, {ROWS}) AS numbers (n)" if is_postgres else numbers
    statement = f"""INSERT INTO {table.name} ({", ".join(names)}) SELECT {", ".join(values)}
        FROM {source} CROSS JOIN (SELECT * FROM {table.name} LIMIT 1) AS one"""
    with engine.connect() as connection:
        if is_postgres:  # it may take longer than a request
            connection.connection.driver_connection.patience = None  # type: ignore[union-attr]
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        assert connection.execute(sa.text(statement)).rowcount == ROWS
        connection.execute(sa.text(f"ANALYZE {table.name}"))
        connection.commit()
        if is_postgres:
            connection.invalidate()


@contextmanager
def recording(engine: sa.Engine) -> Iterator[list[Statement]]:
    """Record the statements that a block executes."""
    statements: list[Statement] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement):
            statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", record)


def bearer_of(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def service_token(server: Server) -> TestResponse:
    return server.post("/token", SERVICE, grant_type="client_credentials", scope="invoices:read")


def statements_by_request(server: Server) -> dict[str, list[Statement]]:
    """Send one request of each kind, each time with empty caches."""
    browser = server.browser()
    browser.sign_in()
    browser.authorize(scope="openid offline_access invoices:read", prompt="consent")
    code = browser.authorize(scope="openid invoices:read")["code"]
    used_code = server.code()
    replayed = dict(server.redeem(used_code).json or {})
    server.refresh(replayed["refresh_token"])
    plain = server.tokens()
    revoked = server.tokens()
    openid = server.tokens(scope="openid offline_access invoices:read", prompt="consent")
    assert server.is_active(plain["access_token"])  # the set of revoked tokens is built before the first one
    pairwise = openid_tokens(server, scope=PAIRWISE, prompt="consent")
    assert service_token(server).status_code == 200  # the first one stores the authorization
    get = server.app.test_client().get
    kinds: dict[str, Callable[[], Any]] = {
        "authorize": lambda: browser.client.get(authorize_url(scope="openid invoices:read")),
        "code": lambda: server.redeem(code),
        "refresh": lambda: server.refresh(plain["refresh_token"]),
        "refresh with ID token": lambda: server.refresh(openid["refresh_token"]),
        "refresh with a pairwise ID token": lambda: server.refresh(pairwise["refresh_token"], RP),
        "client credentials": lambda: service_token(server),
        "userinfo": lambda: get("/userinfo", headers=bearer_of(openid)),
        "pairwise userinfo": lambda: get("/userinfo", headers=bearer_of(pairwise)),
        "introspect": lambda: server.introspect(plain["access_token"]),
        "introspect a refresh token": lambda: server.introspect(openid["refresh_token"]),
        "key set": lambda: get("/jwks"),
        "sign in": lambda: server.browser().sign_in(),
        "apps": lambda: browser.client.get("/apps"),
        "revoke": lambda: server.post("/revoke", TALLY, token=plain["access_token"]),
        "revoke a refresh token": lambda: server.post("/revoke", TALLY, token=revoked["refresh_token"]),
        "code replay": lambda: server.redeem(used_code),
        "refresh replay": lambda: server.refresh(replayed["refresh_token"]),
        "unknown client": lambda: server.post("/token", grant_type="refresh_token", client_id="unknown"),
    }
    found = {}
    for name, send in kinds.items():
        clock.set_offset(clock.offset() + 3)  # no cache of a process is that old
        with recording(server.services.database.engine) as found[name]:
            response = send()
        if name == "authorize":
            assert "code" in query(response.location), response.text
        elif name not in {"introspect", "introspect a refresh token"}:
            expected = REFUSED.get(name, {200, 303})
            assert response.status_code in expected, (name, response.text)
    return found


def scans(connection: sa.Connection, statement: Statement) -> list[str]:
    """Return the large tables that a statement would read as a whole."""
    text, parameters = statement
    is_sqlite = connection.dialect.name == "sqlite"
    plan = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{text}", parameters)
    lines = [str(row[-1]) for row in plan]
    # SQLite names an index that it reads as a whole, too
    pattern = re.compile(r"\bSCAN (\w+)" if is_sqlite else r"\bSeq Scan on (\w+)")
    names = [match[1] for line in lines if (match := pattern.search(line))]
    tables = {alias: table for table, alias in re.findall(r"(\w+) AS (\w+)", text)}
    return [table for name in names if (table := tables.get(name, name)) in LARGE]


def test_a_million_rows(tmp_path: Path, redis_url: str) -> None:
    server = make_server(make_settings(tmp_path, redis_url, access_token_lifetime=600))
    with server.services.database.transaction() as session:
        session.get_one(Client, "tally").scope = "openid offline_access invoices:read invoices:pay profile"
    server.services.registry.forget("tally")
    server.add(relying_party(subject_type="pairwise"), a_service())
    few = statements_by_request(server)
    multiply(server, User)
    multiply(server, Client)
    multiply(
        server,
        Authorization,
        user_id="'row-' || n || '-id'",
        client_id="'row-' || n || '-client_id'",
        ended_at=str(clock.now() - 7200),
        end_reason="'revoked by the client'",
    )
    multiply(server, RefreshToken, authorization_id="'row-' || n || '-id'")
    multiply(server, Consent, user_id="'row-' || n || '-id'", client_id="'row-' || n || '-client_id'")
    multiply(server, PairwiseSubject, user_id="'row-' || n || '-id'")
    multiply(server, Revocation)
    many = statements_by_request(server)
    assert {name: len(each) for name, each in many.items()} == {name: len(each) for name, each in few.items()}
    with server.services.database.engine.connect() as connection:
        for table in LARGE:  # a scan would be found, also under another name
            assert scans(connection, (f"SELECT * FROM {table}", ())) == [table]
            assert scans(connection, (f"SELECT * FROM {table} AS one", ())) == [table]
        whole = {name: [s for s in each if scans(connection, s)] for name, each in many.items()}
    assert not any(whole.values()), {name: each for name, each in whole.items() if each}
