"""Fixtures that start from each release."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rolecall import clock
from rolecall.sql import Database
from support.migrations.frozen import MIGRATIONS, SERVICES, Release, dialect_of, start
from support.migrations.left import RELEASES, Left, left_by


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest) -> Release:
    found: Release = request.param
    return found


@pytest.fixture
def opened() -> Iterator[list[Database]]:
    """Databases that are closed after the test."""
    databases: list[Database] = []
    yield databases
    for database in databases:
        database.engine.dispose()


@pytest.fixture(params=SERVICES)
def database(
    request: pytest.FixtureRequest, release: Release, tmp_path: Path, opened: list[Database]
) -> tuple[str, Database]:
    """The name of a service, and its database as the release left it."""
    service: str = request.param
    opened.append(Database(left_by(release, service, tmp_path), MIGRATIONS[service]))
    return service, opened[-1]


@pytest.fixture
def running(release: Release, tmp_path: Path, redis_url: str) -> Iterator[Left]:
    """Both services of this version on the migrated databases, at the time of the release; Redis is empty."""
    urls = {service: left_by(release, service, tmp_path) for service in SERVICES}
    secrets = release.secrets(dialect_of(urls["auth"]))
    with closing(start(urls, redis_url, secrets)) as both:
        for database in both.databases.values():
            database.upgrade()
        clock.set_offset(secrets["time"] - clock.now())
        yield Left(both, secrets)
