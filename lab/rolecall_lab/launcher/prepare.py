"""Migrate the databases of the lab, create the first keys, and apply the seeds."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from alembic.util import CommandError

import rolecall_resource
from rolecall import storage
from rolecall.settings import SettingsError
from rolecall.sql import Database, MigrationError
from rolecall_auth.jose.signing_keys import Keys, KeysError
from rolecall_auth.services import MIGRATIONS
from rolecall_auth.settings import Settings as AuthSettings
from rolecall_lab import seeds
from rolecall_resource.settings import Settings as ResourceSettings


def main() -> None:
    """Exit with one line of text if the preparation fails."""
    try:
        prepare(os.environ)
    except (SettingsError, seeds.SeedsError, KeysError, MigrationError, storage.StorageError, CommandError) as error:
        sys.exit(str(error))
    except sa.exc.SQLAlchemyError as error:
        sys.exit(f"a migration failed: {str(error).strip().splitlines()[0]}")


def prepare(environ: Mapping[str, str]) -> None:
    """Prepare both databases; `environ` has the settings with prefixes, such as `AUTH_SERVICE_DATABASE_URL`."""
    auth = AuthSettings.from_environ(_of(environ, "AUTH_SERVICE_"), lab=True)
    resource = ResourceSettings.from_environ(_of(environ, "RESOURCE_SERVICE_"), lab=True)
    auth_database = Database(auth.database_url, MIGRATIONS)
    resource_database = Database(resource.database_url, Path(rolecall_resource.__file__).parent / "migrations")
    storage.require_noeviction(storage.connect(auth.redis_url))
    found = seeds.read(Path(environ.get("SEEDS_FILE") or seeds.DEFAULT), environ)
    with auth_database.exclusive(), resource_database.exclusive():
        auth_database.upgrade()
        resource_database.upgrade()
        Keys(
            auth_database, auth.data_key, jwks_max_age=auth.jwks_max_age, token_lifetime=auth.access_token_lifetime
        ).ensure()
        seeds.apply(found, auth_database, resource_database, auth.data_key.encrypt)


def _of(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in environ.items() if name.startswith(prefix)}


if __name__ == "__main__":
    main()
