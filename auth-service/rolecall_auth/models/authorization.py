"""Authorizations: each records the access that a person, or a client for itself, has at one resource or more."""

from __future__ import annotations

import json
from typing import Any, TypedDict

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall import clock
from rolecall.storage import digest
from rolecall_auth.models import Model, new_id


class Approved(TypedDict):
    """The request as the person approved it; later changes of the client's registration can only narrow it.

    `scope` includes the scopes of the claims that were requested individually. `claims` are the names of these by
    place, as in `Authorization.requested_claims`. `custom_claims` are the claims that the claim scopes in `scope` then
    released. `sector` determines a pairwise subject and is None for a public one.
    `refreshable` is whether the client may get a refresh token.
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
    """The owner of a code, its refresh tokens, and its access tokens; they become invalid when it ends.

    The subject is the person `user_id` or, if that is None, the client itself. `auth_time` is when the person signed
    in. `used_at` is when a token was last issued; `requested_claims` is the `claims` parameter (OpenID Connect Core
    section 5.5); `sid` identifies the sign-in; `acr` is set if the client requested it.

    `resources` is the scope at each resource, by identifier. It is None, as is `approved`, if the authorization is
    older than these columns; `approved` is also None without a person. `token_format` is that of
    the tokens issued last, and `token_lifetime` the longest lifetime of any of them, in seconds; both are None before
    the first token.

    `standing_key` identifies the active authorization of a client for itself; see `standing_key()`. It is None for a
    person's, and after the authorization has ended.
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


def active_of_user(session: Session, user_id: str) -> list[Authorization]:
    """Return a person's active authorizations, newest first."""
    query = sa.select(Authorization).where(Authorization.user_id == user_id, Authorization.ended_at.is_(None))
    return list(session.scalars(query.order_by(Authorization.created_at.desc())))


def standing_key(client_id: str, resource: str, scope: str) -> str:
    """Return the key of a client's own authorization, of which at most one is active at a time."""
    return digest(json.dumps([client_id, resource, scope]))
