"""The entries of the set of revoked tokens: how SQL stores them, and how they are written to Redis."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from rolecall import clock
from rolecall.sql import UNAVAILABLE, Database
from rolecall_auth.models import Model
from rolecall_auth.models.authorization import Authorization, AuthorizationRecord
from rolecall_auth.settings import MAX_LIFETIME

_Query: TypeAlias = "sa.Select[*tuple[Any, ...]]"
_Rows: TypeAlias = "Sequence[sa.Row[*tuple[Any, ...]]]"

WHOLE: Final = "*"
"""The member that revokes every token of the authorization."""

BATCH: Final = 1000
"""Maximum number of rows read from SQL, or entries written to Redis, at a time."""

_ATTEMPTS: Final = 3
_PAUSE: Final = 0.5
"""Seconds between two attempts to read a batch."""

# KEYS: one for each entry. ARGV: the member and the TTL of each. Never shortens the TTL of other members of a key.
ADD: Final = """
for i, key in ipairs(KEYS) do
  redis.call('SADD', key, ARGV[2 * i - 1])
  local ttl = tonumber(ARGV[2 * i])
  if redis.call('TTL', key) < ttl then redis.call('EXPIRE', key, ttl) end
end
return 1
"""

ADD_WHEN_FULL: Final = f"#!lua flags=allow-oom\n{ADD}"
"""The same script, which also runs when Redis has reached `maxmemory`."""


class Entry(NamedTuple):
    """A revoked token, or all tokens of an authorization (`WHOLE`); `expires_at` is when the last of them expires."""

    authorization_id: str
    member: str
    expires_at: float


class Revocation(Model):
    """A single revoked access token; `expires_at` is when the token expires."""

    __tablename__ = "revocation"

    token_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    authorization_id: Mapped[str] = mapped_column(sa.String(64))
    expires_at: Mapped[float] = mapped_column(sa.Double, index=True)


_table: Final = Authorization.__table__


def key(prefix: str, authorization_id: str) -> str:
    """Return the Redis key of an authorization's entries."""
    return f"{prefix}:revoked:{{{authorization_id}}}"


def arguments(prefix: str, entries: Sequence[Entry], keep: int) -> tuple[list[str], list[str | int]]:
    """Return the keys and the arguments of the scripts that add entries.

    Args:
        keep: seconds that Redis keeps an entry after it expires.
    """
    now, values = clock.now(), list[str | int]()
    for entry in entries:
        values += [entry.member, max(1, math.ceil(entry.expires_at - now) + keep)]
    return [key(prefix, entry.authorization_id) for entry in entries], values


class Ending(NamedTuple):
    """The statements that end the authorizations which meet some conditions, and find the entries for their tokens.

    `find` selects each authorization that is active, or whose last token expires after `since`, with the time of that
    expiry. Both have the parameter `now`.
    """

    find: _Query
    end: sa.Update

    @classmethod
    def of(cls, *which: sa.ColumnElement[bool]) -> Ending:
        """Build the statements."""
        lifetime = sa.case(
            (_table.c.token_lifetime.is_not(None), _table.c.token_lifetime),
            (_table.c.used_at.is_not(None), MAX_LIFETIME),  # its tokens are older than `token_lifetime`
            else_=0,
        )
        now = sa.bindparam("now", type_=sa.Double)
        expires_at = sa.func.coalesce(_table.c.ended_at, now) + lifetime
        recent = sa.or_(_table.c.ended_at.is_(None), expires_at > sa.bindparam("since", type_=sa.Double))
        values = {"ended_at": now, "end_reason": sa.bindparam("reason"), "standing_key": None}
        return cls(
            find=sa.select(_table.c.id, expires_at).where(recent, *which),
            end=sa.update(_table).where(_table.c.ended_at.is_(None), *which).values(values),
        )

    def entries(self, connection: sa.Connection, since: float, values: Mapping[str, Any]) -> list[Entry]:
        """Return the entries of the authorizations that `find` selects.

        Args:
            values: the parameters of the conditions.
        """
        rows = connection.execute(self.find, {**values, "now": clock.now(), "since": since})
        return [Entry(row[0], WHOLE, float(row[1])) for row in rows]


ONE: Final = Ending.of(_table.c.id == sa.bindparam("authorization"))
"""The statements that end the authorization with the id `authorization`."""


def of_record(authorization: AuthorizationRecord, since: float) -> list[Entry]:
    """Return the entry of an authorization that has had tokens, if the last of them expires after `since`."""
    ended_at = clock.now() if authorization.ended_at is None else authorization.ended_at
    expires_at = ended_at + _seconds(authorization.token_lifetime)
    is_recent = authorization.ended_at is None or expires_at > since
    return [Entry(authorization.id, WHOLE, expires_at)] if is_recent else []


def batches(database: Database, since: float) -> Iterator[list[Entry]]:
    """Yield all entries whose last token expires after `since`, in batches of constant size.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database has failed several times in a row.
    """
    for lifetime in _lifetimes(database):
        ended = sa.select(Authorization.ended_at, Authorization.id, Authorization.used_at).where(*_of(lifetime))
        order, seconds = (Authorization.ended_at, Authorization.id), _seconds(lifetime)
        for rows in _pages(database, ended, order, since - seconds):
            # without any token, there is nothing to revoke
            used = (row for row in rows if lifetime is not None or row.used_at is not None)
            yield [Entry(row.id, WHOLE, row.ended_at + seconds) for row in used]
    single = sa.select(Revocation.expires_at, Revocation.token_id, Revocation.authorization_id)
    for rows in _pages(database, single, (Revocation.expires_at, Revocation.token_id), since):
        yield [Entry(row.authorization_id, row.token_id, row.expires_at) for row in rows]


def count(database: Database, since: float) -> int:
    """Return the number of rows that `batches` reads."""
    queries = [
        sa.select(sa.func.count())
        .select_from(Authorization)
        .where(*_of(lifetime), Authorization.ended_at > since - _seconds(lifetime))
        for lifetime in _lifetimes(database)
    ]
    queries.append(sa.select(sa.func.count()).select_from(Revocation).where(Revocation.expires_at > since))
    with database.read() as session:
        return sum(session.scalar(query) or 0 for query in queries)


def _of(lifetime: int | None) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions for ended authorizations whose longest token has this lifetime, as in the index."""
    return Authorization.token_lifetime == lifetime, Authorization.ended_at.is_not(None)


def _seconds(lifetime: int | None) -> int:
    return MAX_LIFETIME if lifetime is None else lifetime


def _lifetimes(database: Database) -> Iterable[int | None]:
    """Return the values of `token_lifetime`: the few that the setting or a resource has had."""
    found: list[int | None] = [None]
    column = Authorization.token_lifetime
    next_one = sa.select(column).where(Authorization.ended_at.is_not(None)).order_by(column).limit(1)
    with database.read() as session:
        lifetime = session.scalar(next_one.where(column.is_not(None)))
        while lifetime is not None:
            found.append(lifetime)
            lifetime = session.scalar(next_one.where(column > lifetime))
    return found


def _pages(
    database: Database, query: _Query, order: tuple[InstrumentedAttribute[Any], ...], start: float
) -> Iterator[_Rows]:
    """Yield the rows after `start` in batches; the query selects the columns of `order` first."""
    position: tuple[Any, ...] = (start, "")
    while True:
        rows = _page(database, query.where(sa.tuple_(*order) > position).order_by(*order).limit(BATCH))
        if rows:
            yield rows
        if len(rows) < BATCH:
            return
        position = rows[-1][: len(order)]


def _page(database: Database, query: _Query) -> _Rows:
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        try:
            with database.read() as session:
                if session.get_bind().dialect.name == "postgresql":
                    # with few or no statistics, it would read and sort all remaining rows for each batch
                    session.execute(sa.text("SET LOCAL enable_sort = off"))
                return session.execute(query).all()
        except UNAVAILABLE as error:
            failure = error
    raise failure
