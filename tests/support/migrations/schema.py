"""Comparison of a migrated schema with a new one and with the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from rolecall.sql import Database
from support.databases import fresh_database
from support.migrations.frozen import METADATA, MIGRATIONS


def problems(service: str, database: Database, folder: Path, opened: list[Database]) -> list[str]:
    """Return a line for each difference from a new database of this version, and from the models."""
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
    """Return a line for each column, index, and constraint of each table.

    If not `exact`, leave out what models do not define: column order, constraint names, and Alembic's own table.
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
