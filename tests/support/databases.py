"""A database for each test, copied from a prepared one: an SQLite file, or in the PostgreSQL at DATABASE_URL."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

_prepared: dict[str, str] = {}
_made: list[str] = []


def fresh_database(kind: str, folder: Path, prepare: Callable[[str], None]) -> str:
    """The URL of a new database that is as `prepare` left the first of its kind."""
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
    return _create(server, template=_prepared[kind].rpartition("/")[2])


def empty_database(name: str, folder: Path) -> str:
    """The URL of a database with nothing in it."""
    server = os.environ.get("DATABASE_URL")
    return _create(server) if server else f"sqlite:///{folder}/{name}.db"


def of_stack() -> dict[str, str]:
    """The settings that give a stack of its own new databases in the PostgreSQL at DATABASE_URL; empty without one."""
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
