"""The SQL database of a service: an engine, short transactions, and migrations with Alembic.

Administration uses sessions of the ORM. Requests that programs send often use connections, and statements of SQLAlchemy
Core that are built once, at import: building and mapping take several times as long as the database.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from weakref import WeakValueDictionary

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from rolecall.web.errors import failure_reason, store_error

UNAVAILABLE: Final = (
    sa.exc.OperationalError,
    sa.exc.InternalError,
    sa.exc.InterfaceError,
    sa.exc.ProgrammingError,
    sa.exc.TimeoutError,
)
"""The exceptions of SQLAlchemy for a database that is unreachable, full, read-only, overloaded, or not migrated.

The response is 503, because the service recovers without a restart. `ProgrammingError` belongs to them because
PostgreSQL reports missing tables and missing privileges with it; the statements themselves are constant.
"""

POOL_TIMEOUT = 2.0
"""Seconds to wait for a connection of the pool, before the database counts as unavailable."""

WRITE_TIMEOUT: Final = 5.0
"""Seconds to wait for the other writing threads of this process, before an SQLite database counts as unavailable."""

_BUSY: Final = "another process is migrating this database; wait until it has finished, then start again"


class MigrationError(Exception):
    """The database does not have the schema that the code requires; the message explains how to fix it."""


class WriteLock:
    """A lock that makes the threads of a process write to an SQLite file one after another.

    Otherwise, they would wait in SQLite's busy handler, which sleeps up to 0.1 s between attempts and gives up after
    the timeout even though each of the other transactions is short.
    """

    _of_files: Final[WeakValueDictionary[str, WriteLock]] = WeakValueDictionary()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    @classmethod
    def of_file(cls, name: str) -> WriteLock:
        """Return the lock that all of this process's connections to a file share."""
        return cls._of_files.setdefault(str(Path(name).resolve()), cls())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock during the block.

        Raises:
            RuntimeError: this thread already holds it, so SQLite would never let the second transaction begin.
            sqlalchemy.exc.TimeoutError: other threads held it for `WRITE_TIMEOUT` seconds.
        """
        if self._holder == threading.get_ident():
            raise RuntimeError("a transaction was begun inside another one")
        lock = self._lock
        if not lock.acquire(timeout=WRITE_TIMEOUT):
            raise sa.exc.TimeoutError(f"other transactions took longer than {WRITE_TIMEOUT:.0f} s")
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            self._holder = None
            lock.release()

    @classmethod
    def reset(cls) -> None:
        """Release all locks in a forked process, which does not have the threads that held them."""
        for lock in cls._of_files.values():
            lock._lock, lock._holder = threading.Lock(), None


os.register_at_fork(after_in_child=WriteLock.reset)


class Database:
    """An engine, with sessions for reading and for writing.

    SQLite runs in WAL mode: readers never wait, and each of their statements reads what was committed before it, as in
    PostgreSQL. A writer takes the lock at its start (BEGIN IMMEDIATE), so that no transaction fails halfway because of
    a concurrent write. `WriteLock` orders the writers of a process; between processes, SQLite's busy handler waits for
    up to 2 seconds.

    Args:
        url: an SQLAlchemy URL, for example `sqlite:////data/auth.db` or `postgresql+psycopg://user@host/auth`.
        migrations: the folder with Alembic's scripts.
    """

    def __init__(self, url: str, migrations: Path) -> None:
        self.url = url
        self.migrations = migrations
        self._is_exclusive = False
        parsed = sa.make_url(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        self._write_lock: WriteLock | None = None
        if self._sqlite:
            self._write_lock = WriteLock.of_file(parsed.database or "")
            self.engine = sa.create_engine(
                url,
                hide_parameters=True,
                poolclass=sa.QueuePool,
                max_overflow=20,
                pool_timeout=POOL_TIMEOUT,
                connect_args={"timeout": 2.0},
            )
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
        else:
            self.engine = sa.create_engine(
                url,
                hide_parameters=True,
                pool_pre_ping=True,
                pool_size=4,
                max_overflow=12,
                pool_timeout=POOL_TIMEOUT,
                connect_args={"connect_timeout": 2, "options": "-c statement_timeout=1500 -c lock_timeout=1000"},
            )
            from rolecall import patient_postgres  # noqa: PLC0415  SQLite does not need the PostgreSQL driver

            sa.event.listen(self.engine, "do_connect", patient_postgres.connect)

    def connect(self) -> sa.Connection:
        """Open a connection for reading; use it in a `with` block."""
        return self.engine.connect()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a connection for writing; commit at the end of the block, or roll back if it raises."""
        with self._written_alone(), self.engine.begin() as connection:
            self._begin_immediate(connection)
            yield connection

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session for writing; commit at the end of the block, or roll back if it raises."""
        with self._written_alone(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            self._begin_immediate(session.connection())
            yield session

    def _begin_immediate(self, connection: sa.Connection) -> None:
        """Begin in the driver: with an event, SQLAlchemy would have to look for listeners in each of its steps."""
        if not self._sqlite:
            return
        driver: Any = connection.connection.driver_connection
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, error) from error

    def _written_alone(self) -> AbstractContextManager[None]:
        return self._write_lock.held() if self._write_lock is not None else nullcontext()

    def head(self) -> str:
        """Return the newest revision in the migrations folder, whose scripts are named `<revision>_<slug>.py`."""
        return max(_revision(path) for path in (self.migrations / "versions").glob("[0-9]*_*.py"))

    def revision(self) -> str | None:
        """Return the current revision of the database; None if it is empty."""
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return cast("str", connection.scalar(sa.text("SELECT version_num FROM alembic_version")))

    def require_head(self) -> None:
        """Check that the database has the newest revision.

        Raises:
            MigrationError: the database has another revision, or does not respond.
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
        """Hold the lock that is required for changing the schema or the initial rows; it is reentrant.

        Raises:
            MigrationError: another process holds the lock, or the database does not respond.
        """
        if self._is_exclusive or self._sqlite:  # only one process uses an SQLite file, whose write lock is sufficient
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
        """Upgrade the database to `revision`, in one process at a time.

        Raises:
            MigrationError: another process is migrating the database, or it does not respond.
        """
        self._alembic("upgrade", revision)

    def downgrade(self, revision: str) -> None:
        """Downgrade the database to `revision`."""
        self._alembic("downgrade", revision)

    def _alembic(self, direction: str, revision: str) -> None:
        # imported here, because only migrations need it and it doubles the start time of a service
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(self.migrations).replace("%", "%%"))
        with self.exclusive(), self._written_alone(), self._writing() as connection:
            if not self._sqlite:  # a migration may take longer than a request
                connection.connection.driver_connection.patience = None  # type: ignore[union-attr]
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            config.attributes["connection"] = connection
            getattr(command, direction)(config, revision)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        try:
            connection = self.engine.connect()
        except sa.exc.SQLAlchemyError as error:
            raise MigrationError(unavailable_reason(error)) from error
        with connection, self._without_foreign_keys(connection):
            try:
                transaction = connection.begin()
                self._begin_immediate(connection)
            except sa.exc.OperationalError as error:
                raise MigrationError(_BUSY) from error
            with transaction:
                yield connection
                if self._sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                    raise MigrationError("the migration would violate foreign keys; the database was not changed")

    @contextmanager
    def _without_foreign_keys(self, connection: sa.Connection) -> Iterator[None]:
        """Disable foreign keys in SQLite: Alembic replaces tables, and dropping one would delete rows in others."""
        if not self._sqlite:
            yield
            return
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA foreign_keys=OFF")  # has no effect inside a transaction
        try:
            yield
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose key does not exist yet, in one statement."""
    statement = _insert_new(table, connection.dialect.name)
    if len(rows) == 1:
        connection.execute(statement, rows[0])
    else:
        connection.execute(statement.values(rows))


@cache
def _insert_new(table: sa.Table, dialect: str) -> postgresql.Insert | sqlite.Insert:
    new: postgresql.Insert | sqlite.Insert = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    return new.on_conflict_do_nothing().inline()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `Database` begins the transactions
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _revision(path: Path) -> str:
    return path.name.partition("_")[0]


@failure_reason.register
def unavailable_reason(error: sa.exc.SQLAlchemyError) -> str:
    """Describe a database error in one line."""
    cause = getattr(error, "orig", None) or error
    return f"the database does not respond: {str(cause).strip().splitlines()[0][:300]}"


def register_error_handlers(app: Flask) -> None:
    """Respond with 503 to the errors in `UNAVAILABLE`; every service with a database calls this."""
    for error in UNAVAILABLE:
        app.register_error_handler(error, store_error)
