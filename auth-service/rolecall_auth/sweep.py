"""Removes rows that nobody needs any more, a few at a time: `flask sweep`, and every hour in production by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from rolecall import clock
from rolecall_auth.models import Model
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import ENDED, Client
from rolecall_auth.models.initial_access_token import InitialAccessToken
from rolecall_auth.models.key import SigningKey
from rolecall_auth.models.revocation import Revocation
from rolecall_auth.models.token import RefreshToken
from rolecall_auth.services import PREFIX, Services

log = logging.getLogger(__name__)

EVERY: Final = 3600.0
"""Seconds between two sweeps."""

KEEP: Final = 86400.0
"""Seconds that rows stay after their end: clocks differ, and the set of revocations is rebuilt from some of them."""

BATCH: Final = 500
"""Rows removed in one transaction: nobody waits long for one of them."""


def sweep(services: Services) -> dict[str, int]:
    """Remove all that is over; gives the number of rows by table.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer; what was removed stays so.
    """
    tables = ("refresh_token", "authorization_grant", "revocation", "signing_key", "initial_access_token", "client")
    counts = dict.fromkeys(tables, 0)
    for model, over in _over(clock.now() - KEEP, clock.now() - KEEP - services.settings.access_token_lifetime):
        counts[model.__tablename__] += _remove(services, model, over)
    return counts


def sweep_in_turn(services: Services) -> None:
    """Sweep, unless another process has done so within the hour."""
    if not services.store.client.set(f"{PREFIX}:sweep", "1", nx=True, ex=int(EVERY) - 60):
        return
    log.info("swept", extra={"removed": sweep(services)})


def _over(ended: float, tokens_ended: float) -> Iterator[tuple[type[Model], sa.ColumnElement[bool]]]:
    """What is over, in an order in which nothing is removed that something else still needs.

    A refresh token that has expired is refused as such, used or not, so that its row proves no replay any more. An
    authorization is over when it ended, or when none of its refresh tokens is left and its last access token expired.
    """
    yield RefreshToken, RefreshToken.expires_at < ended
    no_refresh_token = ~sa.exists().where(RefreshToken.authorization_id == Authorization.id)
    yield Authorization, Authorization.ended_at < tokens_ended
    yield Authorization, sa.and_(Authorization.used_at < tokens_ended, no_refresh_token)
    yield Authorization, sa.and_(Authorization.used_at.is_(None), Authorization.created_at < tokens_ended)
    yield Revocation, Revocation.expires_at < ended
    yield SigningKey, SigningKey.verifies_until < ended
    yield InitialAccessToken, InitialAccessToken.expires_at < ended
    yield Client, sa.and_(Client.disabled_at < tokens_ended, Client.registration_token_hash == ENDED)


def _remove(services: Services, model: type[Model], over: sa.ColumnElement[bool]) -> int:
    [key] = sa.inspect(model).primary_key
    removed: int = 0
    while True:
        with services.database.transaction() as session:
            # who works with a row at this moment is not waited for; the next sweep finds it again
            rows = list(session.scalars(sa.select(key).where(over).limit(BATCH).with_for_update(skip_locked=True)))
            gone: Any = session.execute(sa.delete(model).where(key.in_(rows), over))
        removed += gone.rowcount
        if len(rows) < BATCH:
            return removed
