"""What must last, in SQL: one engine a service, short transactions, migrations by Alembic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from rolecall.web.errors import failure_reason, store_error

UNAVAILABLE: Final = (
    sa.exc.OperationalError,
    sa.exc.InternalError,
    sa.exc.InterfaceError,
    sa.exc.ProgrammingError,
    sa.exc.TimeoutError,
)
"""What a database that is away, full, read-only, overrun, emptied or closed to us makes SQLAlchemy raise: 503.

It heals by itself. PostgreSQL tells a missing table and a withdrawn privilege as programming errors; our statements are
the same ones every time, so it is never their text that is wrong.
"""

_BUSY: Final = "another process is migrating this database; wait until it has finished, then start again"


class MigrationError(Exception):
    """The database is not as the code needs it; the text says what to do."""


class Database:
    """An engine and its two kinds of session.

    SQLite runs in WAL mode: readers never wait, and a writer takes the lock when it begins (BEGIN IMMEDIATE), so that
    no transaction fails half-way because another one wrote meanwhile.

    Args:
        url: an SQLAlchemy URL, for example `sqlite:////data/auth.db` or `postgresql+psycopg://user@host/auth`.
        migrations: the folder of Alembic's scripts.
    """

    def __init__(self, url: str, migrations: Path) -> None:
        self.url = url
        self.migrations = migrations
        self._is_exclusive = False
        parsed = sa.make_url(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        if self._sqlite:
            self.engine = sa.create_engine(
                url,
                hide_parameters=True,
                poolclass=sa.QueuePool,
                max_overflow=20,
                pool_timeout=2,
                connect_args={"timeout": 2.0},
            )
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(
                url,
                hide_parameters=True,
                pool_pre_ping=True,
                pool_size=4,
                max_overflow=12,
                pool_timeout=2,
                connect_args={"connect_timeout": 2, "options": "-c statement_timeout=1500 -c lock_timeout=1000"},
            )
            from rolecall import patient_postgres  # noqa: PLC0415  SQLite needs no driver for PostgreSQL

            sa.event.listen(self.engine, "do_connect", patient_postgres.connect)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only reads."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that writes: commits at the end of the block, rolls back when the block raises."""
        engine = self.engine.execution_options(rolecall_write=True)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def head(self) -> str:
        """The newest revision that the code knows: scripts are named `<revision>_<slug>.py`."""
        return max(_revision(path) for path in (self.migrations / "versions").glob("[0-9]*_*.py"))

    def revision(self) -> str | None:
        """The revision that the database is at; None for an empty one."""
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return cast("str", connection.scalar(sa.text("SELECT version_num FROM alembic_version")))

    def require_head(self) -> None:
        """Refuse a database that is not migrated.

        Raises:
            MigrationError: it is at another revision, or does not answer.
        """
        try:
            revision = self.revision()
        except sa.exc.SQLAlchemyError as error:
            raise MigrationError(unavailable_reason(error)) from error
        if revision != self.head():
            raise MigrationError(
                f"the database is at revision {revision or 'none'} and this version needs {self.head()}; "
                "run `flask db-upgrade`"
            )

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the one lock that whoever changes the schema or its first rows must hold; blocks inside may ask again.

        Raises:
            MigrationError: another process holds it, or the database does not answer.
        """
        if self._is_exclusive or self._sqlite:  # SQLite's own write lock is enough: one process uses the file
            yield
            return
        try:
            connection = self.engine.connect()
        except sa.exc.SQLAlchemyError as error:
            raise MigrationError(unavailable_reason(error)) from error
        with connection, connection.begin():
            if not connection.scalar(sa.text("SELECT pg_try_advisory_xact_lock(72176)")):
                raise MigrationError(_BUSY)
            self._is_exclusive = True
            try:
                yield
            finally:
                self._is_exclusive = False

    def upgrade(self, revision: str = "head") -> None:
        """Bring the database to `revision`, one process at a time.

        Raises:
            MigrationError: another process is at it, or the database does not answer.
        """
        self._alembic("upgrade", revision)

    def downgrade(self, revision: str) -> None:
        """Take the database back to `revision`."""
        self._alembic("downgrade", revision)

    def _alembic(self, direction: str, revision: str) -> None:
        # imported here: only migrations need it, and it doubles the time that a service takes to start
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(self.migrations).replace("%", "%%"))
        with self.exclusive(), self._writing() as connection:
            if not self._sqlite:  # a migration may take its time
                connection.connection.driver_connection.patience = None  # type: ignore[union-attr]
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            config.attributes["connection"] = connection
            getattr(command, direction)(config, revision)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        try:
            connection = self.engine.execution_options(rolecall_write=True).connect()
        except sa.exc.SQLAlchemyError as error:
            raise MigrationError(unavailable_reason(error)) from error
        with connection, self._without_foreign_keys(connection):
            try:
                transaction = connection.begin()
            except sa.exc.OperationalError as error:
                raise MigrationError(_BUSY) from error
            with transaction:
                yield connection
                if self._sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                    raise MigrationError("the migration leaves rows that refer to nothing; nothing was changed")

    @contextmanager
    def _without_foreign_keys(self, connection: sa.Connection) -> Iterator[None]:
        """SQLite changes a table by a new one and dropping the old, which would delete what refers to its rows."""
        if not self._sqlite:
            yield
            return
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA foreign_keys=OFF")  # in a transaction it does nothing
        try:
            yield
        finally:
            driver.execute("PRAGMA foreign_keys=ON")

    def is_alive(self) -> bool:
        """Whether the database answers."""
        try:
            with self.engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        except sa.exc.SQLAlchemyError:
            return False
        return True


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, below
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("rolecall_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _revision(path: Path) -> str:
    match = re.match(r"\d+", path.name)
    assert match is not None
    return match[0]


@failure_reason.register
def unavailable_reason(error: sa.exc.SQLAlchemyError) -> str:
    """Describe a database error in one line."""
    cause = getattr(error, "orig", None) or error
    return f"the database does not respond: {str(cause).strip().splitlines()[0][:300]}"


def register_error_handlers(app: Flask) -> None:
    """Respond with 503 to the errors in `UNAVAILABLE`; every service with a database calls this."""
    for error in UNAVAILABLE:
        app.register_error_handler(error, store_error)
