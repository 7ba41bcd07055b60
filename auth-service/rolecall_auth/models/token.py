"""Refresh tokens, which rotate within a family (RFC 9700 section 4.14).

During a grace period, a used token returns the same successor again.
"""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

import sqlalchemy as sa
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.orm import Mapped, mapped_column

from rolecall import clock
from rolecall.storage import digest
from rolecall_auth.models import Model, new_secret
from rolecall_auth.models.authorization import COLUMNS, Authorization, AuthorizationRecord


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


class RefreshTokenRecord(NamedTuple):
    """The columns of a token that a refresh needs; see `RefreshToken`."""

    token_hash: str
    expires_at: float
    family_expires_at: float


_table: Final = RefreshToken.__table__
_successor: Final = _table.alias("successor")

_SIZE: Final = len(RefreshTokenRecord._fields)

_FIND: Final = (
    sa.select(*(_table.c[name] for name in RefreshTokenRecord._fields), *COLUMNS)
    .join_from(_table, Authorization.__table__)
    .where(_table.c.token_hash == sa.bindparam("token"))
)

_INSERT: Final = sa.insert(_table).inline()

_ROTATE: Final = (
    sa.update(_table)
    .where(_table.c.token_hash == sa.bindparam("token"), _table.c.used_at.is_(None))
    .values(
        used_at=sa.bindparam("now"), successor_hash=sa.bindparam("successor"), successor_sealed=sa.bindparam("sealed")
    )
)

_UNUSED_SUCCESSOR: Final = (
    sa.select(_table.c.used_at, _table.c.successor_sealed)
    .join_from(_table, _successor, _successor.c.token_hash == _table.c.successor_hash)
    .where(_table.c.token_hash == sa.bindparam("token"), _successor.c.used_at.is_(None))
)


def find(connection: sa.Connection, token: str) -> tuple[RefreshTokenRecord, AuthorizationRecord] | None:
    """Return a token, used or expired or not, with its authorization; None if it is unknown."""
    row = connection.execute(_FIND, {"token": digest(token)}).one_or_none()
    return None if row is None else (RefreshTokenRecord(*row[:_SIZE]), AuthorizationRecord(*row[_SIZE:]))


def add(
    connection: sa.Connection, authorization_id: str, *, idle: int, family_expires_at: float, token: str | None = None
) -> str:
    """Store a token, and return it.

    Args:
        idle: seconds until it expires if unused; it never outlives its family.
        token: the token to store; a new one by default.
    """
    token = token or new_secret()
    values = {
        "token_hash": digest(token),
        "authorization_id": authorization_id,
        "expires_at": min(clock.now() + idle, family_expires_at),
        "family_expires_at": family_expires_at,
    }
    connection.execute(_INSERT, values)
    return token


def rotate(
    connection: sa.Connection, token: str, row: RefreshTokenRecord, authorization_id: str, *, idle: int
) -> str | None:
    """Consume the token atomically, and return its successor; None if it was already used."""
    successor = new_secret()
    values = {
        "token": row.token_hash,
        "now": clock.now(),
        "successor": digest(successor),
        "sealed": _cipher(token).encrypt(successor.encode()),
    }
    if connection.execute(_ROTATE, values).rowcount != 1:
        return None
    return add(connection, authorization_id, idle=idle, family_expires_at=row.family_expires_at, token=successor)


def successor_in_grace(connection: sa.Connection, token: str, grace: int) -> str | None:
    """Return the unused successor of a token that was used less than `grace` seconds ago; None means a replay."""
    row = connection.execute(_UNUSED_SUCCESSOR, {"token": digest(token)}).one_or_none()
    if row is None or clock.now() - row.used_at >= grace:
        return None
    return _cipher(token).decrypt(row.successor_sealed).decode()


def _cipher(token: str) -> Fernet:
    """Return a cipher whose key derives from the old token, so that only its holder can decrypt the successor."""
    derived = HKDF(SHA256(), 32, salt=None, info=b"rolecall refresh successor").derive(token.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
