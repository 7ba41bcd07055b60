"""Every release's databases come up to this version, with all that was in them, and go on to work."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from rolecall import clock
from rolecall.sql import Database, MigrationError
from rolecall.storage import digest
from rolecall_auth.models.token import RefreshToken
from support.auth_server import authorize_url, basic, claims
from support.databases import fresh_database
from support.migrations.frozen import (
    METADATA,
    MIGRATIONS,
    SERVICES,
    Release,
    Rows,
    Running,
    dialect_of,
    dump,
    load,
    releases,
    rows,
    start,
)
from support.migrations.story import BOTH, apps, tell

pytestmark = pytest.mark.database

RELEASES: Final = releases()

NOT_KEPT: Final[frozenset[str]] = frozenset()
"""What later migrations took away or rewrote, and were meant to: `table`, or `table.column`."""

PEOPLE: Final = tuple(BOTH["people"])


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest) -> Release:
    found: Release = request.param
    return found


@pytest.fixture
def opened() -> Iterator[list[Database]]:
    """What a test puts here is closed after it."""
    databases: list[Database] = []
    yield databases
    for database in databases:
        database.engine.dispose()


@pytest.fixture(params=SERVICES)
def database(
    request: pytest.FixtureRequest, release: Release, tmp_path: Path, opened: list[Database]
) -> tuple[str, Database]:
    """A service's name, and its database as the release left it."""
    service: str = request.param
    opened.append(Database(left_by(release, service, tmp_path), MIGRATIONS[service]))
    return service, opened[-1]


@pytest.fixture
def running(release: Release, tmp_path: Path, redis_url: str) -> Iterator[Left]:
    """Both services of this version on what the release left, at the time when it left it; Redis is empty."""
    urls = {service: left_by(release, service, tmp_path) for service in SERVICES}
    secrets = release.secrets(dialect_of(urls["auth"]))
    with closing(start(urls, redis_url, secrets)) as both:
        for database in both.databases.values():
            database.upgrade()
        clock.set_offset(secrets["time"] - clock.now())
        yield Left(both, secrets)


class Left:
    """The services, and what is known of the release: `left["refresh_token"]`."""

    def __init__(self, both: Running, secrets: dict[str, Any]) -> None:
        self.auth, self.api, self.apps = both.auth, both.api, apps(secrets)
        self._secrets = secrets

    def __getitem__(self, name: str) -> Any:
        return self._secrets[name]

    def is_active(self, token: str) -> bool:
        """As introspection says it (RFC 7662 section 2.2)."""
        resource = basic(self["resource_id"], self["resource_secret"])
        response = self.auth.post("/introspect", resource, token=self[token])
        assert response.status_code == 200, response.text
        return bool(response.json and response.json["active"])

    def refresh(self, client_id: str, token: str) -> tuple[int, dict[str, Any]]:
        return self.apps[client_id].refresh(self.auth, self[token])

    def get(self, path: str, token: str, validator: str = "jwt") -> tuple[int, dict[str, Any]]:
        """From the Invoices API."""
        response = self.api.test_client().get(
            path, headers={"Authorization": f"Bearer {token}"}, environ_overrides={"rolecall.validator": validator}
        )
        return response.status_code, dict(response.json or {})


def left_by(release: Release, service: str, folder: Path) -> str:
    """The URL of a new database with what the release left."""
    return fresh_database(
        f"{service}-{release.name}", folder, lambda url: load(release.dump(service, dialect_of(url)), url)
    )


def changed(release: Release, folder: Path, change: Callable[[str], str]) -> str:
    """The same for the authorization server, the dump changed before it was loaded."""
    url = fresh_database("empty", folder, lambda url: load("SELECT 1;", url))
    text = release.dump("auth", dialect_of(url))
    assert change(text) != text, "nothing was changed"
    load(change(text), url)
    return url


# ---- the schema


def problems(service: str, database: Database, folder: Path, opened: list[Database]) -> list[str]:
    """What differs from a database that this version made new, and from the models; a line each."""
    new = Database(fresh_database(f"{service}-new", folder, lambda url: _migrate(service, url)), MIGRATIONS[service])
    models = Database(
        fresh_database(f"{service}-models", folder, lambda url: _create_all(service, url)), MIGRATIONS[service]
    )
    opened += [new, models]
    found = [f"migrated: {line}" for line in sorted(schema(database.engine) ^ schema(new.engine))]
    like_models = schema(database.engine, exact=False) ^ schema(models.engine, exact=False)
    found += [f"models: {line}" for line in sorted(like_models)]
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found += [f"alembic: {change}" for change in compare_metadata(context, METADATA[service])]
    return found


def _migrate(service: str, url: str) -> None:
    database = Database(url, MIGRATIONS[service])
    database.upgrade()
    database.engine.dispose()


def _create_all(service: str, url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    METADATA[service].create_all(engine)
    engine.dispose()


def schema(engine: sa.Engine, *, exact: bool = True) -> set[str]:
    """All that can be told of each table, a line each.

    Not `exact` leaves out what models do not say: the order of columns, the names of constraints, Alembic's own table.
    """

    def line(table: str, kind: str, entry: Any, *, named: bool = True) -> str:
        shown = {name: value for name, value in dict(entry).items() if named or exact or name != "name"}
        return f"{table}: {kind} {json.dumps(shown, sort_keys=True, default=as_text)}"

    def as_text(value: Any) -> str:
        return str(value.compile(engine.dialect)) if isinstance(value, sa.types.TypeEngine) else str(value)

    inspector, found = sa.inspect(engine), set()
    for table in inspector.get_table_names():
        if table == "alembic_version" and not exact:
            continue
        columns = inspector.get_columns(table)
        found.add(f"{table}: columns {[column['name'] for column in columns] if exact else len(columns)}")
        found |= {line(table, "column", column) for column in columns}
        found |= {line(table, "index", index) for index in inspector.get_indexes(table)}
        found.add(line(table, "primary key", inspector.get_pk_constraint(table), named=False))
        for kind, constraints in (
            ("foreign key", inspector.get_foreign_keys(table)),
            ("unique", inspector.get_unique_constraints(table)),
            ("check", inspector.get_check_constraints(table)),
        ):
            found |= {line(table, kind, constraint, named=False) for constraint in constraints}
    return found


def test_it_comes_up_to_this_versions_schema(
    database: tuple[str, Database], tmp_path: Path, opened: list[Database]
) -> None:
    service, left = database
    left.upgrade()
    left.require_head()
    assert problems(service, left, tmp_path, opened) == []


def _without_not_null(text: str) -> str:
    return re.sub(r"(\bclient_name [^\n,]*) NOT NULL", r"\1", text)


def _shorter(text: str) -> str:
    return re.sub(r"(\bdescription [a-zA-Z ]+)\(300\)", r"\1(299)", text)


def _columns_swapped(text: str) -> str:
    return re.sub(r"(\n\s+created_at [^\n]*)(\n\s+signs_from [^\n]*)", r"\2\1", text)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text + "ALTER TABLE client DROP COLUMN description;", r"alembic: .*add_column.*description"),
        (lambda text: text + "ALTER TABLE client ADD COLUMN left_over INTEGER;", r"alembic: .*remove_column"),
        (lambda text: text + "CREATE TABLE left_over (id INTEGER);", r"migrated: left_over"),
        (lambda text: text + "DROP TABLE revocation;", r"models: revocation"),
        (lambda text: text + "DROP INDEX ix_refresh_token_expires_at;", r"models: refresh_token: index"),
        (lambda text: text.replace("UNIQUE (username)", "UNIQUE (username, id)"), r"models: user_account: unique"),
        (lambda text: text.replace(" ON DELETE CASCADE", ""), r"models: consent: foreign key"),
        (_without_not_null, r"models: client: column .*client_name"),
        (_shorter, r"models: client: column .*299"),
        (_columns_swapped, r"migrated: signing_key: columns"),
    ],
    ids=["column", "extra column", "extra table", "table", "index", "unique", "cascade", "null", "length", "order"],
)
def test_a_schema_that_differs_is_noticed(
    change: Callable[[str], str], expected: str, tmp_path: Path, opened: list[Database]
) -> None:
    """What proves the test above: one thing is another in the dump of the newest release."""
    opened.append(Database(changed(RELEASES[-1], tmp_path, change), MIGRATIONS["auth"]))
    opened[0].upgrade()
    found = problems("auth", opened[0], tmp_path, opened)
    assert any(re.search(expected, line) for line in found), found


def test_a_database_of_a_later_version_is_refused(release: Release, tmp_path: Path, opened: list[Database]) -> None:
    def later(text: str) -> str:
        return text + "UPDATE alembic_version SET version_num = '9999';"

    opened.append(Database(changed(release, tmp_path, later), MIGRATIONS["auth"]))
    with pytest.raises(MigrationError, match="9999"):
        opened[0].require_head()


# ---- the rows


def lost(before: Rows, after: Rows) -> list[str]:
    """Rows and values that are no more, or not as they were; what is new may be there. A line each."""
    found = []
    for table, entries in before.items():
        if table in NOT_KEPT:
            continue
        if table not in after or len(entries) != len(after[table]):
            found.append(f"{table}: {len(entries)} rows are {len(after.get(table, []))}")
            continue
        kept = [name for name in (entries[0] if entries else {}) if f"{table}.{name}" not in NOT_KEPT]
        were, are = (
            sorted(repr([row.get(name, "no such column") for name in kept]) for row in rows_)
            for rows_ in (entries, after[table])
        )
        found += [f"{table}: {was} is {now}" for was, now in zip(were, are, strict=True) if was != now]
    return found


def test_every_row_and_value_is_kept(release: Release, database: tuple[str, Database]) -> None:
    service, left = database
    before = rows(left.engine)
    counts = release.secrets(dialect_of(left.url))["rows"][service]
    assert {table: len(entries) for table, entries in before.items()} == counts, "the dump is not what was frozen"
    assert all(counts.values()), "an empty table proves nothing"
    left.upgrade()
    assert lost(before, rows(left.engine)) == []
    if dialect_of(left.url) == "sqlite":
        with left.engine.connect() as connection:
            assert connection.execute(sa.text("PRAGMA foreign_key_check")).all() == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM revocation", "revocation: 2 rows are 0"),
        ("UPDATE client SET refresh_grace = 11 WHERE refresh_grace = 10", "client: "),
        ("UPDATE refresh_token SET expires_at = expires_at + 0.000001", "refresh_token: "),
        ("UPDATE client SET client_name = 'Tally'", "client: "),
        ("ALTER TABLE user_account DROP COLUMN disabled_at", "user_account: "),
        ("UPDATE signing_key SET private_sealed = '-'", "signing_key: "),
        ("DROP TABLE consent", "consent: 2 rows are 0"),
    ],
)
def test_a_row_or_value_that_is_lost_is_noticed(
    statement: str, expected: str, tmp_path: Path, opened: list[Database]
) -> None:
    """What proves the test above, on the newest release."""
    opened.append(Database(left_by(RELEASES[-1], "auth", tmp_path), MIGRATIONS["auth"]))
    before = rows(opened[0].engine)
    with opened[0].transaction() as session:
        session.execute(sa.text(statement))
    found = lost(before, rows(opened[0].engine))
    assert found
    assert all(line.startswith(expected) for line in found), found


REBUILD: Final = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    with op.batch_alter_table("user_account") as batch:
        batch.alter_column("username", type_=sa.String(65))
    op.execute("{statement}")
"""


def _with_one_more(database: Database, folder: Path, statement: str) -> Database:
    """The same database, and one more migration, for which SQLite makes the table of people anew."""
    migrations = folder / "migrations"
    shutil.copytree(database.migrations, migrations)
    text = REBUILD.format(head=database.head(), statement=statement)
    (migrations / "versions" / "9999_rebuild.py").write_text(text)
    return Database(database.url, migrations)


def test_a_table_made_anew_takes_no_other_rows_along(tmp_path: Path, opened: list[Database]) -> None:
    """On SQLite, ON DELETE CASCADE would empty all that refers to the old one when it is dropped."""
    left = Database(left_by(RELEASES[-1], "auth", tmp_path), MIGRATIONS["auth"])
    later = _with_one_more(left, tmp_path, "SELECT 1")
    opened += [left, later]
    before = rows(left.engine)
    later.upgrade()
    assert later.revision() == "9999"
    assert lost(before, rows(later.engine)) == []
    with later.transaction() as session:
        session.execute(sa.text("DELETE FROM user_account"))
    assert rows(later.engine)["authorization_grant"] == [], "foreign keys are off for good"


def test_a_migration_that_leaves_rows_alone_changes_nothing(tmp_path: Path, opened: list[Database]) -> None:
    left = Database(left_by(RELEASES[-1], "auth", tmp_path), MIGRATIONS["auth"])
    later = _with_one_more(left, tmp_path, "UPDATE consent SET user_id = 'nobody'")
    opened += [left, later]
    left.upgrade()
    before, head = rows(left.engine), left.head()
    with pytest.raises((MigrationError, sa.exc.IntegrityError)):
        later.upgrade()
    assert left.revision() == head
    assert rows(left.engine) == before


# ---- up, down, up


def test_down_to_nothing_and_up_again_is_a_working_empty_database(
    release: Release, tmp_path: Path, redis_url: str, opened: list[Database]
) -> None:
    """All that the story tells happens once more, in the tables that are empty again."""
    urls = {service: left_by(release, service, tmp_path) for service in SERVICES}
    with closing(start(urls, redis_url, BOTH)) as both:
        for service, database in both.databases.items():
            database.upgrade()
            database.downgrade("base")
            assert database.revision() is None
            assert rows(database.engine) == {}, "a table was left behind"
            database.upgrade()
            database.require_head()
            assert problems(service, database, tmp_path, opened) == []
            assert not any(rows(database.engine).values())
        told = tell(both)
        for counts in told["rows"].values():
            assert all(counts.values()), "the story leaves a table empty: the next release would prove less"
        assert both.auth.app.test_client().get("/readyz").status_code == 200


def test_what_is_dumped_can_be_loaded(database: tuple[str, Database], tmp_path: Path) -> None:
    service, left = database
    if dialect_of(left.url) != "sqlite":
        pytest.skip("there may be no pg_dump; freeze.py compares what it dumped")
    before = rows(left.engine)
    left.engine.dispose()
    copy = Database(f"sqlite:///{tmp_path}/copy.db", MIGRATIONS[service])
    load(dump(left.url), copy.url)
    assert rows(copy.engine) == before
    assert schema(copy.engine) == schema(left.engine)
    copy.engine.dispose()


# ---- the services on it


@pytest.mark.parametrize("username", PEOPLE)
def test_passwords_sign_in_and_consent_is_remembered(running: Left, username: str) -> None:
    client_id, scope = ("tally", "invoices:pay profile") if username == "alice" else ("strict-books", "invoices:read")
    app = running.apps[client_id]
    browser = running.auth.browser()
    assert browser.submit("/sign-in", username=username, password="another password").status_code == 403
    signed_in = browser.submit("/sign-in", username=username, password=running["people"][username]["password"])
    assert signed_in.location == "/apps"
    page = browser.client.get("/apps").text.replace("&#39;", "'").replace("&amp;", "&")
    assert running["clients"][client_id]["name"] in page
    answer = browser.client.get(authorize_url(client_id=client_id, redirect_uri=app.redirect_uri, scope=scope))
    assert answer.location.startswith(app.redirect_uri), "consent was given, and is asked for again"


def test_a_live_refresh_token_rotates(running: Left) -> None:
    """RFC 6749 section 6."""
    status, tokens = running.refresh("tally", "refresh_token")
    assert status == 200
    assert tokens["refresh_token"] != running["refresh_token"]
    assert claims(tokens["access_token"])["sub"] == running["subs"]["alice"]
    assert running.get("/invoices", tokens["access_token"])[0] == 200


def test_a_used_refresh_token_gets_its_sealed_successor_in_the_grace(running: Left) -> None:
    status, tokens = running.refresh("tally", "refresh_token_used")
    assert status == 200
    assert tokens["refresh_token"] == running["refresh_token"]


def test_a_used_refresh_token_ends_the_family_after_the_grace(running: Left) -> None:
    """RFC 9700 section 4.14.2."""
    clock.set_offset(clock.offset() + 11)
    assert running.is_active("access_token")
    assert running.refresh("tally", "refresh_token_used")[1]["error"] == "invalid_grant"
    assert running.refresh("tally", "refresh_token")[1]["error"] == "invalid_grant"
    assert not running.is_active("access_token")


def test_a_client_without_a_grace_has_none(running: Left) -> None:
    clock.set_offset(clock.offset() - 59)
    assert running.refresh("strict-books", "refresh_token_of_strict_used")[1]["error"] == "invalid_grant"
    assert running.refresh("strict-books", "refresh_token_of_strict")[1]["error"] == "invalid_grant"


def test_its_living_token_rotates(running: Left) -> None:
    assert running.refresh("strict-books", "refresh_token_of_strict")[0] == 200


@pytest.mark.parametrize(
    ("client_id", "token", "expired"),
    [
        ("tally", "refresh_token_of_the_ended", False),
        ("tally-native", "refresh_token_revoked", False),
        ("tally", "refresh_token_expired", True),
    ],
)
def test_what_was_over_stays_over(running: Left, client_id: str, token: str, expired: bool) -> None:
    """RFC 6749 section 5.2, RFC 7009 section 2.1."""
    with running.auth.services.database.read() as session:
        row = session.get_one(RefreshToken, digest(running[token]))
    assert (row.expires_at <= clock.now()) == expired, "it is over for another reason"
    status, body = running.refresh(client_id, token)
    assert (status, body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("token", ["access_token", "access_token_of_the_old_key"])
@pytest.mark.parametrize("validator", ["jwt", "introspection"])
def test_access_tokens_of_both_generations_of_keys_are_good(running: Left, token: str, validator: str) -> None:
    """RFC 7517 section 5, RFC 7662 section 2.2: by the served key set, by introspection, at the resource server."""
    keys = jwt.PyJWKSet.from_dict(dict(running.auth.app.test_client().get("/jwks").json or {}))
    assert len({key.key_id for key in keys.keys}) == 4
    kid = jwt.get_unverified_header(running[token])["kid"]
    decoded = jwt.decode(running[token], keys[kid], algorithms=["ES256"], audience=running["resource"],
                         options={"verify_exp": False, "verify_iat": False})  # fmt: skip
    assert decoded["sub"] == running["subs"]["alice"]
    assert clock.now() < decoded["exp"]
    assert running.is_active(token)
    assert running.get("/invoices", running[token], validator)[0] == 200


def test_the_two_generations_are_two(running: Left) -> None:
    kids = {jwt.get_unverified_header(running[name])["kid"] for name in ("access_token", "access_token_of_the_old_key")}
    signing = running.auth.services.keys.signing("ES256").kid
    assert len(kids) == 2
    assert signing == jwt.get_unverified_header(running["access_token"])["kid"]


@pytest.mark.parametrize("token", ["access_token_revoked", "access_token_of_the_ended"])
def test_revoked_access_tokens_are_inactive(running: Left, token: str) -> None:
    """RFC 7009 section 2, RFC 7662 section 2.2: the set in Redis is filled again from what is in SQL."""
    assert clock.now() < claims(running[token])["exp"]
    assert running.auth.services.keys.verifying(jwt.get_unverified_header(running[token])["kid"])
    assert not running.is_active(token)


@pytest.mark.parametrize("username", PEOPLE)
def test_owners_see_their_invoices_and_profile(running: Left, username: str) -> None:
    """RFC 6749 section 1.1: the resource server gives an owner's resources for a token of theirs."""
    person = running["people"][username]
    app = running.apps["tally"]
    token = app.connect(running.auth, username, person["password"], "invoices:read invoices:pay profile")[
        "access_token"
    ]
    status, body = running.get("/invoices", token)
    assert status == 200
    assert [invoice["number"] for invoice in body["invoices"]] == person["invoices"]
    assert [invoice["number"] for invoice in body["invoices"] if invoice["state"] == "paid"] == [person["paid"]]
    assert running.get("/profile", token) == (
        200,
        {"sub": running["subs"][username], "name": person["name"], "email": person["email"]},
    )
    by_number = {invoice["number"]: invoice["id"] for invoice in body["invoices"]}
    statuses = [_pay(running, token, by_number[number]) for number in (person["paid"], person["invoices"][0])]
    assert statuses == [409, 201]


def _pay(running: Left, token: str, invoice_id: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return running.api.test_client().post(f"/invoices/{invoice_id}/payment", headers=headers).status_code


def test_a_native_app_connects_again(running: Left) -> None:
    """RFC 8252 sections 7.3 and 8.6: another port of the loopback address, and consent each time."""
    app, alice = running.apps["tally-native"], running["people"]["alice"]
    tokens = app.connect(running.auth, "alice", alice["password"], "invoices:read")
    assert app.refresh(running.auth, tokens["refresh_token"])[0] == 200
