"""Migrations keep every row and every value of the databases of every release."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from rolecall.sql import Database, MigrationError
from rolecall_auth.models.consent import REFRESH
from support.migrations.frozen import MIGRATIONS, Release, Rows, dialect_of, rows
from support.migrations.released import RELEASES, released_database

pytestmark = pytest.mark.database

NOT_KEPT: Final = frozenset({"consent"})
"""Tables and columns that later migrations deliberately removed or rewrote: `table`, or `table.column`."""


def lost(before: Rows, after: Rows) -> list[str]:
    """Return a line for each row or value that is missing or changed; ignores new rows and columns."""
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


def test_consents_are_split_and_joined_again(release: Release, tmp_path: Path, opened: list[Database]) -> None:
    opened.append(Database(released_database(release, "auth", tmp_path), MIGRATIONS["auth"]))
    [database] = opened
    before = rows(database.engine)["consent"]
    database.upgrade()
    split = {(each["user_id"], each["client_id"], each["scope"]) for each in rows(database.engine)["consent_scope"]}
    assert split == {
        (each["user_id"], each["client_id"], item) for each in before for item in {*each["scope"].split(), REFRESH}
    }
    database.downgrade("0005")
    assert lost({"consents": before}, {"consents": rows(database.engine)["consent"]}) == []


def test_every_row_and_value_is_kept(release: Release, database: tuple[str, Database]) -> None:
    service, released = database
    before = rows(released.engine)
    counts = release.secrets(dialect_of(released.url))["rows"][service]
    assert {table: len(entries) for table, entries in before.items()} == counts, "the dump has changed since the freeze"
    assert all(counts.values()), "an empty table proves nothing"
    released.upgrade()
    assert lost(before, rows(released.engine)) == []
    if dialect_of(released.url) == "sqlite":
        with released.engine.connect() as connection:
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
        ("DROP TABLE refresh_token", "refresh_token: "),
    ],
)
def test_a_row_or_value_that_is_lost_is_noticed(
    statement: str, expected: str, tmp_path: Path, opened: list[Database]
) -> None:
    """Check the test above with a loss in the newest release."""
    opened.append(Database(released_database(RELEASES[-1], "auth", tmp_path), MIGRATIONS["auth"]))
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
    """Return the same database with one more migration, for which SQLite rebuilds the table of people."""
    migrations = folder / "migrations"
    shutil.copytree(database.migrations, migrations)
    text = REBUILD.format(head=database.head(), statement=statement)
    (migrations / "versions" / "9999_rebuild.py").write_text(text)
    return Database(database.url, migrations)


def test_a_table_made_anew_takes_no_other_rows_along(tmp_path: Path, opened: list[Database]) -> None:
    """On SQLite, ON DELETE CASCADE would delete the rows that refer to the old table when it is dropped."""
    released = Database(released_database(RELEASES[-1], "auth", tmp_path), MIGRATIONS["auth"])
    later = _with_one_more(released, tmp_path, "SELECT 1")
    opened += [released, later]
    before = rows(released.engine)
    later.upgrade()
    assert later.revision() == "9999"
    assert lost(before, rows(later.engine)) == []
    with later.transaction() as session:
        session.execute(sa.text("DELETE FROM user_account"))
    assert rows(later.engine)["authorization_grant"] == [], "foreign keys are still off"


def test_a_migration_that_leaves_rows_alone_changes_nothing(tmp_path: Path, opened: list[Database]) -> None:
    released = Database(released_database(RELEASES[-1], "auth", tmp_path), MIGRATIONS["auth"])
    later = _with_one_more(released, tmp_path, "UPDATE consent_scope SET user_id = 'nobody'")
    opened += [released, later]
    released.upgrade()
    before, head = rows(released.engine), released.head()
    with pytest.raises((MigrationError, sa.exc.IntegrityError)):
        later.upgrade()
    assert released.revision() == head
    assert rows(released.engine) == before
