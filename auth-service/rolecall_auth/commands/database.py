"""Commands for the database: `db-upgrade` and `sweep`."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from rolecall.sql import MigrationError
from rolecall_auth.commands.console import fail, reported_errors
from rolecall_auth.jose.signing_keys import KeysError
from rolecall_auth.services import services
from rolecall_auth.sweep import sweep


@click.command("db-upgrade")
@with_appcontext
def db_upgrade() -> None:
    """Migrate the database to this version's schema, and generate the first signing keys."""
    database = services().database
    try:
        with database.exclusive():
            database.upgrade()
            services().keys.ensure()
    except (MigrationError, KeysError) as error:
        fail(str(error))
    click.echo(f"The database is at revision {database.revision()}.")


@click.command("sweep")
@with_appcontext
def sweep_rows() -> None:
    """Delete expired rows. In production, the service also does this every hour."""
    with reported_errors():
        removed = sweep(services())
    click.echo(", ".join(f"{table}: {count}" for table, count in removed.items()))
