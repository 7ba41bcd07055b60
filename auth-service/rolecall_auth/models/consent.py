"""Remembered consents: the scopes that a person allowed a client, until the person withdraws them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall import clock
from rolecall_auth.models import Model


class Consent(Model):
    """One row per person, client, and resource; `scope` accumulates the allowed scopes, in alphabetical order."""

    __tablename__ = "consent"

    user_id: Mapped[str] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True)
    resource: Mapped[str] = mapped_column(sa.String(500), primary_key=True)
    scope: Mapped[str] = mapped_column(sa.String(1000))
    given_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)


def has_consent(
    session: Session, user_id: str, client_id: str, resource: str, scope: str, *, hold: bool = False
) -> bool:
    """Return whether all of `scope` has been allowed.

    Args:
        hold: lock the consent, so that it cannot be withdrawn before the transaction ends.
    """
    consent = session.get(Consent, (user_id, client_id, resource), with_for_update={"read": True} if hold else None)
    return consent is not None and set(scope.split()) <= set(consent.scope.split())


def remember(session: Session, user_id: str, client_id: str, resource: str, scope: str) -> None:
    """Add `scope` to the allowed scopes."""
    consent = session.get(Consent, (user_id, client_id, resource))
    if consent is None:
        session.add(Consent(user_id=user_id, client_id=client_id, resource=resource, scope=normal_scope(scope)))
    else:
        consent.scope = normal_scope(f"{consent.scope} {scope}")


def forget(session: Session, user_id: str, client_id: str) -> None:
    """Withdraw all consents of a person for a client."""
    session.execute(sa.delete(Consent).where(Consent.user_id == user_id, Consent.client_id == client_id))


def normal_scope(scope: str) -> str:
    """Return the scope without duplicates, in alphabetical order (RFC 6749 section 3.3: order is irrelevant)."""
    return " ".join(sorted(set(scope.split())))
