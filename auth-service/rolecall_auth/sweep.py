"""The deletion of expired rows in small batches, for `flask sweep` and for the hourly job."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from rolecall import clock
from rolecall.sql import Database
from rolecall_auth.models import Model
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import ENDED, Client
from rolecall_auth.models.initial_access_token import InitialAccessToken
from rolecall_auth.models.key import SigningKey
from rolecall_auth.models.revocation_entries import Revocation
from rolecall_auth.models.token import RefreshToken
from rolecall_auth.services import Services, services

log = logging.getLogger(__name__)

SWEEP_INTERVAL: Final = 3600.0
"""Seconds between two sweeps."""

RETENTION: Final = 86400.0
"""Seconds that rows are kept after they expire: clocks differ, and the set of revocations is rebuilt from rows."""

BATCH: Final = 500
"""Rows deleted in one transaction, small enough that other transactions do not wait long for a lock."""


def sweep(parts: Services) -> dict[str, int]:
    """Delete expired rows, and return the number of deleted rows by table.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not respond. Batches that were committed stay deleted.
    """
    tables = ("refresh_token", "authorization_grant", "revocation", "signing_key", "initial_access_token", "client")
    counts = dict.fromkeys(tables, 0)
    ended = clock.now() - RETENTION
    lifetimes = [resource.access_token_lifetime or 0 for resource in parts.registry.resources()]
    longest = max([parts.settings.access_token_lifetime, *lifetimes])
    for model, condition in _expired_rows(ended, ended - longest):
        counts[model.__tablename__] += _delete(parts.database, model, condition)
    return counts


def sweep_if_due() -> None:
    """Sweep, unless another process has done so within the last hour."""
    store = services().store
    if store.client.set(f"{store.prefix}:sweep", "1", nx=True, ex=int(SWEEP_INTERVAL) - 60):
        log.info("expired rows deleted", extra={"removed": sweep(services())})


def _expired_rows(ended: float, tokens_ended: float) -> Iterator[tuple[type[Model], sa.ColumnElement[bool]]]:
    """Yield each table with its condition, in an order in which no row is deleted that another row needs.

    An expired refresh token is rejected whether it was used or not, so its row is not needed to detect a replay. An
    authorization has expired if it ended, or if it has no refresh tokens and its last access token has expired. A
    client's own authorization expires only when it is ended, because the time of its last access token is not stored.

    Args:
        ended: rows that expired before this time, in seconds since the epoch, can be deleted.
        tokens_ended: access tokens that were issued before this time have expired.
    """
    yield RefreshToken, RefreshToken.expires_at < ended
    no_refresh_token = ~sa.exists().where(RefreshToken.authorization_id == Authorization.id)
    yield Authorization, Authorization.ended_at < tokens_ended
    of_person = Authorization.standing_key.is_(None)
    yield Authorization, sa.and_(Authorization.used_at < tokens_ended, no_refresh_token)
    yield Authorization, sa.and_(Authorization.used_at.is_(None), Authorization.created_at < tokens_ended, of_person)
    yield Revocation, Revocation.expires_at < ended
    yield SigningKey, SigningKey.verifies_until < ended
    yield InitialAccessToken, InitialAccessToken.expires_at < ended
    yield Client, sa.and_(Client.disabled_at < tokens_ended, Client.registration_token_hash == ENDED)


def _delete(database: Database, model: type[Model], condition: sa.ColumnElement[bool]) -> int:
    [key] = sa.inspect(model).primary_key
    deleted: int = 0
    while True:
        with database.transaction() as session:
            # skip rows that another transaction has locked; the next sweep finds them again
            query = sa.select(key).where(condition).limit(BATCH).with_for_update(skip_locked=True)
            rows = list(session.scalars(query))
            result: Any = session.execute(sa.delete(model).where(key.in_(rows), condition))
        deleted += result.rowcount
        if len(rows) < BATCH:
            return deleted
