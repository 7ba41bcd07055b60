"""Refresh tokens, which rotate within a family (RFC 9700 section 4.14).

During a grace period, a used token returns the same successor again.
"""

from __future__ import annotations

import base64

import sqlalchemy as sa
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall import clock
from rolecall.storage import digest
from rolecall_auth.models import Model, new_secret


class RefreshToken(Model):
    """One token of the family of an authorization; all tokens of a family have the same `family_expires_at`."""

    __tablename__ = "refresh_token"

    token_hash: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    authorization_id: Mapped[str] = mapped_column(
        sa.ForeignKey("authorization_grant.id", ondelete="CASCADE"), index=True
    )
    expires_at: Mapped[float] = mapped_column(sa.Double, index=True)
    family_expires_at: Mapped[float] = mapped_column(sa.Double)
    used_at: Mapped[float | None] = mapped_column(sa.Double)
    successor_hash: Mapped[str | None] = mapped_column(sa.String(64))
    successor_sealed: Mapped[bytes | None] = mapped_column(sa.LargeBinary)


def add(
    session: Session, authorization_id: str, *, idle: int, family_expires_at: float, token: str | None = None
) -> str:
    """Store a token, and return it.

    Args:
        idle: seconds until it expires if unused; it never outlives its family.
        token: the token to store; a new one by default.
    """
    token = token or new_secret()
    session.add(
        RefreshToken(
            token_hash=digest(token),
            authorization_id=authorization_id,
            expires_at=min(clock.now() + idle, family_expires_at),
            family_expires_at=family_expires_at,
        )
    )
    return token


def rotate(session: Session, token: str, row: RefreshToken, *, idle: int) -> str | None:
    """Consume the token atomically, and return its successor; None if it was already used."""
    successor = new_secret()
    result = session.execute(
        sa.update(RefreshToken)
        .where(RefreshToken.token_hash == row.token_hash, RefreshToken.used_at.is_(None))
        .values(
            used_at=clock.now(),
            successor_hash=digest(successor),
            successor_sealed=_cipher(token).encrypt(successor.encode()),
        )
    )
    if result.rowcount != 1:  # type: ignore[attr-defined]
        return None
    return add(session, row.authorization_id, idle=idle, family_expires_at=row.family_expires_at, token=successor)


def successor_in_grace(session: Session, token: str, grace: int) -> str | None:
    """Return the unused successor of a token that was used less than `grace` seconds ago; None means a replay."""
    row = session.get(RefreshToken, digest(token), populate_existing=True)
    if row is None or row.used_at is None or row.successor_sealed is None or row.successor_hash is None:
        return None
    if clock.now() - row.used_at >= grace:
        return None
    successor = session.get(RefreshToken, row.successor_hash)
    if successor is None or successor.used_at is not None:
        return None
    return _cipher(token).decrypt(row.successor_sealed).decode()


def _cipher(token: str) -> Fernet:
    """Return a cipher whose key derives from the old token, so that only its holder can decrypt the successor."""
    derived = HKDF(SHA256(), 32, salt=None, info=b"rolecall refresh successor").derive(token.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
