"""Fixtures that start from each release."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rolecall import clock
from rolecall.sql import Database
from support.migrations.frozen import MIGRATIONS, SERVICES, Release, dialect_of, start
from support.migrations.released import RELEASES, MigratedServices, released_database


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest) -> Release:
    found: Release = request.param
    return found


@pytest.fixture
def opened() -> Iterator[list[Database]]:
    """Return a list for databases, which are closed after the test."""
    databases: list[Database] = []
    yield databases
    for database in databases:
        database.engine.dispose()


@pytest.fixture(params=SERVICES)
def database(
    request: pytest.FixtureRequest, release: Release, tmp_path: Path, opened: list[Database]
) -> tuple[str, Database]:
    """Return the name of a service, and its database as the release left it."""
    service: str = request.param
    opened.append(Database(released_database(release, service, tmp_path), MIGRATIONS[service]))
    return service, opened[-1]


@pytest.fixture
def running(release: Release, tmp_path: Path, redis_url: str) -> Iterator[MigratedServices]:
    """Return both services of this version on the migrated databases, at the time of the release; Redis is empty."""
    urls = {service: released_database(release, service, tmp_path) for service in SERVICES}
    secrets = release.secrets(dialect_of(urls["auth"]))
    with closing(start(urls, redis_url, secrets)) as both:
        for database in both.databases.values():
            database.upgrade()
        clock.set_offset(secrets["time"] - clock.now())
        yield MigratedServices(both, secrets)
