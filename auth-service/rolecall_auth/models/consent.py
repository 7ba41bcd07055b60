"""Remembered consents: the scopes that a person allowed a client, until the person withdraws them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall import clock
from rolecall.sql import insert_new
from rolecall_auth.models import Model
from rolecall_auth.models.authorization import Approved
from rolecall_auth.models.user import User

REFRESH: Final = "without asking again"
"""Stored like a scope value if the client may refresh tokens; scope values have no spaces (RFC 6749 section 3.3)."""

_CLAIM: Final = "the claim "
"""The prefix of the stored name of each claim that a claim scope releases; a claim added later needs a new consent."""


class Consent(Model):
    """One row per person, client, resource, and allowed scope value, custom claim, or `REFRESH`."""

    __tablename__ = "consent_scope"

    user_id: Mapped[str] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True)
    resource: Mapped[str] = mapped_column(sa.String(500), primary_key=True)
    scope: Mapped[str] = mapped_column(sa.String(1000), primary_key=True)
    given_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)


_table: Final = Consent.__table__

_HELD: Final = (
    sa.select(_table.c.scope)
    .join_from(_table, User.__table__, User.__table__.c.id == _table.c.user_id)
    .where(
        _table.c.user_id == sa.bindparam("user"),
        _table.c.client_id == sa.bindparam("client"),
        _table.c.resource == sa.bindparam("resource"),
        User.__table__.c.disabled_at.is_(None),
    )
    .with_for_update(read=True, of=_table)
)


def hold_consent(connection: sa.Connection, user_id: str, client_id: str, request: Approved) -> bool:
    """Lock the consent of an active account, so that it cannot be withdrawn before the transaction ends.

    Returns:
        Whether the person has allowed the entire request.
    """
    values = {"user": user_id, "client": client_id, "resource": request["resource"]}
    stored = {*connection.scalars(_HELD, values)}
    return bool(stored) and _items(request) <= stored


def remember(connection: sa.Connection, user_id: str, client_id: str, request: Approved) -> None:
    """Add the request to the stored consent, in one atomic statement."""
    common = {"user_id": user_id, "client_id": client_id, "resource": request["resource"], "given_at": clock.now()}
    insert_new(connection, _table, [{**common, "scope": item} for item in sorted(_items(request))])


def _items(request: Approved) -> set[str]:
    claims = (f"{_CLAIM}{name}" for name in request["custom_claims"])
    return {*request["scope"].split(), *claims, *([REFRESH] if request["refreshable"] else [])}


def scopes_of_user(session: Session, user_id: str) -> list[Consent]:
    """Return the scope values that a person has allowed, without the other items."""
    query = sa.select(Consent).where(Consent.user_id == user_id, ~Consent.scope.contains(" "))
    return list(session.scalars(query))


def forget(session: Session, user_id: str, client_id: str) -> None:
    """Withdraw all consents of a person for a client."""
    session.execute(sa.delete(Consent).where(Consent.user_id == user_id, Consent.client_id == client_id))


def normal_scope(scope: str) -> str:
    """Return the scope without duplicates, in alphabetical order (RFC 6749 section 3.3: order is irrelevant)."""
    return " ".join(sorted(set(scope.split())))
