"""Authorizations: each records a client's access to one or more resources, for a person or on its own behalf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypedDict

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall import clock
from rolecall.storage import digest
from rolecall_auth.models import Model, new_id
from rolecall_auth.models.client import Client
from rolecall_auth.models.user import User, UserRecord


class Approved(TypedDict):
    """The request as the person approved it; later changes of the client's registration can only narrow it.

    `scope` includes the scopes of the claims that were requested individually. `claims` contains the names of these
    claims by place, as in `Authorization.requested_claims`. `custom_claims` contains the claims that the claim scopes
    in `scope` released at that time. `sector` determines a pairwise subject and is None for a public one. `refreshable`
    is whether the client may get a refresh token.
    """

    client_name: str
    scope: str
    claims: dict[str, list[str]]
    custom_claims: list[str]
    resource: str
    redirect_uri: str | None
    subject_type: str
    sector: str | None
    refreshable: bool


class Authorization(Model):
    """The owner of a code, refresh tokens, and access tokens, all of which become invalid when the authorization ends.

    The subject is the person `user_id` or, if that is None, the client itself. `auth_time` is when the person signed
    in. `used_at` is when a token was last issued; `requested_claims` is the `claims` parameter (OpenID Connect Core
    section 5.5); `sid` identifies the sign-in; `acr` is set if the client requested it.

    `resources` is the scope at each resource, by identifier. It is None, as is `approved`, if the authorization is
    older than these columns; `approved` is also None without a person. `token_format` is that of
    the tokens issued last, and `token_lifetime` the longest lifetime of any of them, in seconds; both are None before
    the first token.

    `standing_key` identifies the active authorization that a client has on its own behalf; see `standing_key()`. It is
    None for a person's authorization, and after the authorization has ended.
    """

    __tablename__ = "authorization_grant"

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("client.client_id", ondelete="CASCADE"), index=True)
    resource: Mapped[str] = mapped_column(sa.String(500))
    scope: Mapped[str] = mapped_column(sa.String(1000))
    auth_time: Mapped[float | None] = mapped_column(sa.Double)
    requested_claims: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    sid: Mapped[str | None] = mapped_column(sa.String(64))
    acr: Mapped[str | None] = mapped_column(sa.String(100))
    resources: Mapped[dict[str, str] | None] = mapped_column(sa.JSON(none_as_null=True))
    approved: Mapped[Approved | None] = mapped_column(sa.JSON(none_as_null=True))
    token_format: Mapped[str | None] = mapped_column(sa.String(20))
    token_lifetime: Mapped[int | None] = mapped_column(sa.Integer)
    standing_key: Mapped[str | None] = mapped_column(sa.String(64), unique=True, index=True)
    created_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)
    used_at: Mapped[float | None] = mapped_column(sa.Double)
    ended_at: Mapped[float | None] = mapped_column(sa.Double, index=True)
    end_reason: Mapped[str | None] = mapped_column(sa.String(40))
    __table_args__ = (
        sa.Index("ix_authorization_grant_used_at", "used_at", "created_at"),
        # for the rebuild of the set of revoked tokens
        sa.Index(
            "ix_authorization_grant_token_lifetime",
            "token_lifetime",
            "ended_at",
            "id",
            sqlite_where=ended_at.is_not(None),
            postgresql_where=ended_at.is_not(None),
        ),
    )


class AuthorizationRecord(NamedTuple):
    """The columns of an authorization that requests from programs need; see `Authorization`."""

    id: str
    user_id: str | None
    client_id: str
    resource: str
    scope: str
    auth_time: float | None
    requested_claims: dict[str, Any] | None
    sid: str | None
    acr: str | None
    approved: Approved | None
    token_lifetime: int | None
    ended_at: float | None


_table: Final = Authorization.__table__
_user: Final = User.__table__.c
_client: Final = Client.__table__.c

COLUMNS: Final = tuple(_table.c[name] for name in AuthorizationRecord._fields)
"""The columns of `AuthorizationRecord`, in its order."""

_USER_COLUMNS: Final = tuple(_user[name] for name in UserRecord._fields)
_SIZE: Final = len(COLUMNS)

_INSERT: Final = sa.insert(_table).inline()

_TOKEN_PROPERTIES: Final = {
    "token_format": sa.bindparam("format"),
    "token_lifetime": sa.case(
        (_table.c.token_lifetime > sa.bindparam("lifetime"), _table.c.token_lifetime), else_=sa.bindparam("lifetime")
    ),
}
"""The format of the tokens issued now, and the longest lifetime of any token."""

_CLAIM: Final = (
    sa.update(_table)
    .where(
        _table.c.id == sa.bindparam("authorization"),
        _table.c.ended_at.is_(None),
        sa.exists().where(_user.id == _table.c.user_id, _user.disabled_at.is_(None)),
        sa.exists().where(_client.client_id == _table.c.client_id, _client.disabled_at.is_(None)),
    )
    .values(used_at=sa.bindparam("now"), **_TOKEN_PROPERTIES)
    # SQLite returns columns of other tables only from subqueries
    .returning(
        *COLUMNS, *(sa.select(each).where(_user.id == _table.c.user_id).scalar_subquery() for each in _USER_COLUMNS)
    )
)

_CLAIM_FIRST: Final = _CLAIM.where(_table.c.used_at.is_(None))

_USED: Final = sa.select(_table.c.client_id, _table.c.created_at).where(
    _table.c.id == sa.bindparam("authorization"), _table.c.used_at.is_not(None)
)

_STANDING: Final = sa.select(*COLUMNS).where(_table.c.standing_key == sa.bindparam("key"), _table.c.ended_at.is_(None))

_EXTEND: Final = (
    sa.update(_table)
    .where(_table.c.id == sa.bindparam("authorization"), _table.c.ended_at.is_(None))
    .values(**_TOKEN_PROPERTIES)
)

_WITH_USER: Final = (
    sa.select(*COLUMNS, *_USER_COLUMNS)
    .join_from(_table, User.__table__, _user.id == _table.c.user_id)
    .where(_table.c.id == sa.bindparam("authorization"), _table.c.ended_at.is_(None), _user.disabled_at.is_(None))
)


def store(connection: sa.Connection, values: Mapping[str, Any]) -> None:
    """Store a new authorization with these columns."""
    connection.execute(_INSERT, {**values, "created_at": clock.now()})


def claim(
    connection: sa.Connection, authorization_id: str, token_format: str, token_lifetime: int, *, first: bool
) -> tuple[AuthorizationRecord, UserRecord] | None:
    """Lock an active authorization of a person, mark it as used by tokens, and return it with the person.

    The lock makes a concurrent end of the authorization wait until the tokens are stored.

    Args:
        token_lifetime: lifetime in seconds of the tokens; the longest one of all tokens is stored.
        first: whether these must be the first tokens.

    Returns:
        None if the authorization has ended, has tokens although it must not, or has a disabled user or client.
    """
    statement = _CLAIM_FIRST if first else _CLAIM
    values = {
        "authorization": authorization_id,
        "now": clock.now(),
        "format": token_format,
        "lifetime": token_lifetime,
    }
    return _with_user(connection.execute(statement, values).one_or_none())


def used(connection: sa.Connection, authorization_id: str) -> tuple[str, float] | None:
    """Return the client and the time of creation of an authorization that has tokens, and may have ended; or None."""
    row = connection.execute(_USED, {"authorization": authorization_id}).one_or_none()
    return None if row is None else (row[0], row[1])


def standing(connection: sa.Connection, key: str) -> AuthorizationRecord | None:
    """Return the active authorization with this `standing_key`, which a client has on its own behalf."""
    row = connection.execute(_STANDING, {"key": key}).one_or_none()
    return None if row is None else AuthorizationRecord(*row)


def extend(connection: sa.Connection, authorization_id: str, token_format: str, token_lifetime: int) -> bool:
    """Record the properties of the tokens that are issued now, as `claim` does; return False if it has ended."""
    values = {"authorization": authorization_id, "format": token_format, "lifetime": token_lifetime}
    return connection.execute(_EXTEND, values).rowcount == 1


def with_user(connection: sa.Connection, authorization_id: str) -> tuple[AuthorizationRecord, UserRecord] | None:
    """Return an active authorization with its person; None if it has ended, or its person is disabled or missing."""
    return _with_user(connection.execute(_WITH_USER, {"authorization": authorization_id}).one_or_none())


def _with_user(row: sa.Row[Any] | None) -> tuple[AuthorizationRecord, UserRecord] | None:
    return None if row is None else (AuthorizationRecord(*row[:_SIZE]), UserRecord(*row[_SIZE:]))


def active_of_user(session: Session, user_id: str) -> list[Authorization]:
    """Return a person's active authorizations, newest first."""
    query = sa.select(Authorization).where(Authorization.user_id == user_id, Authorization.ended_at.is_(None))
    return list(session.scalars(query.order_by(Authorization.created_at.desc())))


def standing_key(client_id: str, resource: str, scope: str) -> str:
    """Return the key of a client's own authorization, of which at most one is active at a time."""
    return digest(json.dumps([client_id, resource, scope]))
