"""The databases of every release can be migrated to the schema of this version, and back to an empty schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rolecall.sql import Database, MigrationError
from support.migrations.frozen import MIGRATIONS, SERVICES, Release, dialect_of, dump, load, rows, start
from support.migrations.released import RELEASES, changed_database, released_database
from support.migrations.schema import problems, schema
from support.migrations.story import BOTH, play

pytestmark = pytest.mark.database


def test_it_comes_up_to_this_versions_schema(
    database: tuple[str, Database], tmp_path: Path, opened: list[Database]
) -> None:
    service, released = database
    released.upgrade()
    released.require_head()
    assert problems(service, released, tmp_path, opened) == []


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
        (lambda text: text.replace(" ON DELETE CASCADE", ""), r"models: authorization_grant: foreign key"),
        (_without_not_null, r"models: client: column .*client_name"),
        (_shorter, r"models: client: column .*299"),
        (_columns_swapped, r"migrated: signing_key: columns"),
    ],
    ids=["column", "extra column", "extra table", "table", "index", "unique", "cascade", "null", "length", "order"],
)
def test_a_schema_that_differs_is_noticed(
    change: Callable[[str], str], expected: str, tmp_path: Path, opened: list[Database]
) -> None:
    """Check the test above with a change in the dump of the newest release."""
    opened.append(Database(changed_database(RELEASES[-1], tmp_path, change), MIGRATIONS["auth"]))
    opened[0].upgrade()
    found = problems("auth", opened[0], tmp_path, opened)
    assert any(re.search(expected, line) for line in found), found


def test_a_database_of_a_later_version_is_refused(release: Release, tmp_path: Path, opened: list[Database]) -> None:
    def later(text: str) -> str:
        return text + "UPDATE alembic_version SET version_num = '9999';"

    opened.append(Database(changed_database(release, tmp_path, later), MIGRATIONS["auth"]))
    with pytest.raises(MigrationError, match="9999"):
        opened[0].require_head()


def test_down_to_nothing_and_up_again_is_a_working_empty_database(
    release: Release, tmp_path: Path, redis_url: str, opened: list[Database]
) -> None:
    """The story can be played again in the empty tables."""
    urls = {service: released_database(release, service, tmp_path) for service in SERVICES}
    with closing(start(urls, redis_url, BOTH)) as both:
        for service, database in both.databases.items():
            database.upgrade()
            database.downgrade("base")
            assert database.revision() is None
            assert rows(database.engine) == {}, "a table still exists"
            database.upgrade()
            database.require_head()
            assert problems(service, database, tmp_path, opened) == []
            assert not any(rows(database.engine).values())
        for counts in play(both)["rows"].values():
            assert all(counts.values()), "the story leaves a table empty, so the next release would prove less"
        assert both.auth.app.test_client().get("/readyz").status_code == 200


def test_what_is_dumped_can_be_loaded(database: tuple[str, Database], tmp_path: Path) -> None:
    service, released = database
    if dialect_of(released.url) != "sqlite":
        pytest.skip("needs pg_dump; freeze.py also compares the rows that it dumps")
    before = rows(released.engine)
    released.engine.dispose()
    copy = Database(f"sqlite:///{tmp_path}/copy.db", MIGRATIONS[service])
    load(dump(released.url), copy.url)
    assert rows(copy.engine) == before
    assert schema(copy.engine) == schema(released.engine)
    copy.engine.dispose()
