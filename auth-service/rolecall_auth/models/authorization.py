"""Authorizations: each records the access that one person granted to one client at one time."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall import clock
from rolecall_auth.models import Model, new_id


class Authorization(Model):
    """The owner of a code, its refresh tokens, and its access tokens; they become invalid when it ends.

    `used_at` is when a token was last issued; `requested_claims` is the `claims` parameter (OpenID Connect Core
    section 5.5); `sid` identifies the sign-in; `acr` is set if the client requested it.
    """

    __tablename__ = "authorization_grant"

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("client.client_id", ondelete="CASCADE"), index=True)
    resource: Mapped[str] = mapped_column(sa.String(500))
    scope: Mapped[str] = mapped_column(sa.String(1000))
    auth_time: Mapped[float] = mapped_column(sa.Double)
    requested_claims: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    sid: Mapped[str | None] = mapped_column(sa.String(64))
    acr: Mapped[str | None] = mapped_column(sa.String(100))
    created_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)
    used_at: Mapped[float | None] = mapped_column(sa.Double)
    __table_args__ = (sa.Index("ix_authorization_grant_used_at", "used_at", "created_at"),)
    ended_at: Mapped[float | None] = mapped_column(sa.Double, index=True)
    end_reason: Mapped[str | None] = mapped_column(sa.String(40))


def active_of_user(session: Session, user_id: str) -> list[Authorization]:
    """Return a person's active authorizations, newest first."""
    query = sa.select(Authorization).where(Authorization.user_id == user_id, Authorization.ended_at.is_(None))
    return list(session.scalars(query.order_by(Authorization.created_at.desc())))
