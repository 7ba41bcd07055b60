"""A frozen release: loads its databases, and starts the services of this version on them."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from flask import Flask

import rolecall_resource
from rolecall.http import HttpResponse
from rolecall.sql import Database
from rolecall_auth import create_app
from rolecall_auth.models import Model as AuthModel
from rolecall_auth.services import MIGRATIONS as AUTH_MIGRATIONS
from rolecall_lab.compare import validator
from rolecall_resource.models import Model as ResourceModel
from rolecall_resource.settings import Settings as ResourceSettings
from support.auth_server import Server, make_settings

RELEASES: Final = Path(__file__).parents[2] / "migrations" / "releases"

MIGRATIONS: Final = {"auth": AUTH_MIGRATIONS, "resource": rolecall_resource.MIGRATIONS}
METADATA: Final = {"auth": AuthModel.metadata, "resource": ResourceModel.metadata}
SERVICES: Final = tuple(MIGRATIONS)

Rows = dict[str, list[dict[str, Any]]]
"""Rows by table; each row by column."""


@dataclass(frozen=True)
class Release:
    """A folder of `releases`: a dump per service and dialect, and their secrets."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def dump(self, service: str, dialect: str) -> str:
        """Return the SQL text."""
        return (self.folder / f"{service}.{dialect}.sql").read_text(encoding="utf-8")

    def secrets(self, dialect: str) -> dict[str, Any]:
        """Return the plain values behind the hashes, and the other facts about the dump that a test needs."""
        values: dict[str, Any] = json.loads((self.folder / "secrets.json").read_text(encoding="utf-8"))
        return {**values["both"], **values[dialect]}


def releases() -> list[Release]:
    """Return all frozen releases, the oldest first."""
    folders = [folder for folder in RELEASES.iterdir() if folder.is_dir()]
    return [Release(folder) for folder in sorted(folders, key=lambda each: [int(n) for n in each.name.split(".")])]


def dialect_of(url: str) -> str:
    """`sqlite` or `postgresql`."""
    return sa.make_url(url).get_backend_name()


def load(dump: str, url: str) -> None:
    """Load a dump into the empty database at `url`, atomically."""
    if dialect_of(url) == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.executescript(dump)
    else:
        with psycopg.connect(_libpq(url)) as server:
            server.execute(dump.encode())


def dump(url: str) -> str:
    """Return schema and rows of the database at `url`, as SQL for `load`."""
    if dialect_of(url) == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            return "".join(f"{statement}\n" for statement in file.iterdump())
    command = [*shlex.split(os.environ.get("PG_DUMP", "pg_dump")), "--inserts", "--no-owner", "--no-privileges"]
    done = subprocess.run([*command, "--encoding=UTF8", f"--dbname={_libpq(url)}"], check=True, stdout=subprocess.PIPE)
    # without psql commands, session settings, and comments
    kept = [
        line
        for line in done.stdout.decode().split("\n")
        if not line.startswith(("\\", "--", "SET ", "SELECT pg_catalog.set_config("))
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip() + "\n"


def _libpq(url: str) -> str:
    """Return the URL without the name of a driver."""
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def rows_of(url: str) -> Rows:
    """Return all rows of a database that no service has open."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    found = rows(engine)
    engine.dispose()
    return found


def rows(engine: sa.Engine) -> Rows:
    """Return all rows except the revision, sorted, with the values that the driver returns."""
    with engine.connect() as connection:
        tables = sorted(set(sa.inspect(connection).get_table_names()) - {"alembic_version"})
        return {
            table: sorted(map(dict, connection.execute(sa.text(f'SELECT * FROM "{table}"')).mappings()), key=repr)
            for table in tables
        }


@dataclass(frozen=True)
class Wire:
    """A replacement for the resource server's HTTP client, which calls the authorization server in this process."""

    app: Flask

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
    ) -> HttpResponse:
        response = self.app.test_client().open(urlsplit(url).path, method=method, headers=headers, data=form)
        return HttpResponse(
            response.status_code, {name.lower(): value for name, value in response.headers}, response.data, 1.0
        )


@dataclass(frozen=True)
class Running:
    """Both services in this process; the resource server calls the authorization server."""

    auth: Server
    api: Flask

    @property
    def databases(self) -> dict[str, Database]:
        return {"auth": self.auth.services.database, "resource": self.api.extensions["resource_database"]}

    def close(self) -> None:
        """Close all connections."""
        for database in self.databases.values():
            database.engine.dispose()
        self.auth.services.store.client.close()


def start(urls: Mapping[str, str], redis_url: str, secrets: Mapping[str, Any]) -> Running:
    """Start both on the databases at `urls`, with the settings from `secrets`, without a migration."""
    auth = create_app(
        make_settings(
            Path("/unused"),
            redis_url,
            database_url=urls["auth"],
            issuer=secrets["issuer"],
            data_key=MultiFernet([Fernet(secrets["data_key"])]),
        )
    )
    settings = ResourceSettings(
        issuer=secrets["issuer"],
        public_url=secrets["resource"],
        resource_identifier=secrets["resource"],
        resource_id=secrets["resource_id"],
        resource_secret=secrets["resource_secret"],
        database_url=urls["resource"],
        secret_key="a secret key of the tests, long enough",
        lab=True,
    )
    api = rolecall_resource.create_app(settings, http=Wire(auth))  # type: ignore[arg-type]
    validator.show(api)
    return Running(Server(auth, auth.extensions["rolecall_auth"]), api)
