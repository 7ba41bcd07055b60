"""A database for each test, copied from a prepared one: an SQLite file, or in the PostgreSQL at DATABASE_URL."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from rolecall.sql import Database

_prepared: dict[str, str] = {}
_made: list[str] = []
_copies: deque[str] = deque()

MAX_COPIES: Final = 100
"""Copies that a process keeps in PostgreSQL, each of which takes about 10 MB of memory."""


def fresh_database(kind: str, folder: Path, prepare: Callable[[str], None]) -> str:
    """Return the URL of a new copy of the database that `prepare` set up for this kind."""
    server = os.environ.get("DATABASE_URL")
    if not server:
        if kind not in _prepared:
            _prepared[kind] = f"sqlite:///{tempfile.mkdtemp(prefix='rolecall-')}/{kind}.db"
            prepare(_prepared[kind])
        shutil.copy(_prepared[kind].removeprefix("sqlite:///"), folder / f"{kind}.db")
        return f"sqlite:///{folder}/{kind}.db"
    if kind not in _prepared:
        _prepared[kind] = _create(server)
        prepare(_prepared[kind])
    url = _create(server, template=_prepared[kind].rpartition("/")[2])
    _copies.append(_made[-1])
    if len(_copies) > MAX_COPIES:
        name = _copies.popleft()
        _admin(server, f"DROP DATABASE {name} WITH (FORCE)")
        _made.remove(name)
    return url


class Engines:
    """A pool of engines for the applications of the tests, because an engine caches the SQL that it has compiled.

    A new engine would compile each statement again in each test. The pool only has engines of SQLite.
    """

    def __init__(self) -> None:
        self._free: list[sa.Engine] = []
        self._files: dict[sa.Engine, str] = {}

    def lend(self, database: Database) -> None:
        """Give a database an engine that another test has used, if one is free."""
        url = sa.make_url(database.url)
        if url.get_backend_name() != "sqlite" or not url.database:
            return
        if self._free:
            database.engine = self._free.pop()
        else:
            sa.event.listen(database.engine, "do_connect", partial(self._connect, database.engine))
        self._files[database.engine] = url.database

    def take_back(self, database: Database) -> None:
        """Close all connections, and keep the engine for the next database."""
        database.engine.dispose()
        if self._files.pop(database.engine, None):
            self._free.append(database.engine)

    def _connect(
        self, engine: sa.Engine, _dialect: sa.Dialect, _record: object, arguments: list[str], _named: object
    ) -> None:
        arguments[0] = self._files[engine]


def empty_database(name: str, folder: Path) -> str:
    """Return the URL of a new empty database."""
    server = os.environ.get("DATABASE_URL")
    return _create(server) if server else f"sqlite:///{folder}/{name}.db"


def of_stack() -> dict[str, str]:
    """Return settings for a stack with new databases in the PostgreSQL at DATABASE_URL; empty if that is not set."""
    server = os.environ.get("DATABASE_URL")
    names = ("AUTH_SERVICE_DATABASE_URL", "RESOURCE_SERVICE_DATABASE_URL") if server else ()
    return {name: _create(str(server)) for name in names}


def _create(server: str, template: str = "template1") -> str:
    if not _made:
        atexit.register(_drop_all, server)
    name = f"rolecall_{secrets.token_hex(6)}"
    _admin(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    _made.append(name)
    return f"{server.rpartition('/')[0]}/{name}"


def _drop_all(server: str) -> None:
    for name in _made:
        _admin(server, f"DROP DATABASE {name} WITH (FORCE)")


def _admin(server: str, statement: str) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
