"""Subject identifiers: public, or pairwise per sector (OpenID Connect Core section 8)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rolecall.sql import insert_new
from rolecall_auth.models import Model, new_id
from rolecall_auth.models.client import Client


class PairwiseSubject(Model):
    """A person's random identifier for the clients of a sector, so that two sectors cannot correlate people."""

    __tablename__ = "pairwise_subject"

    sector: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    subject: Mapped[str] = mapped_column(sa.String(64), unique=True, default=lambda: "pws_" + new_id())


_table: Final = PairwiseSubject.__table__

_FIND: Final = sa.select(_table.c.subject).where(
    _table.c.sector == sa.bindparam("sector"), _table.c.user_id == sa.bindparam("user")
)

_USER: Final = sa.select(_table.c.user_id).where(
    _table.c.subject == sa.bindparam("subject"), _table.c.sector == sa.bindparam("sector")
)


def find(connection: sa.Connection, sector: str | None, user_id: str) -> str | None:
    """Return the person's `sub` for a sector, or None if it has not been created.

    Args:
        sector: None for the public subject.
    """
    if sector is None:
        return user_id
    found: str | None = connection.scalar(_FIND, {"sector": sector, "user": user_id})
    return found


def find_or_create(connection: sa.Connection, sector: str | None, user_id: str) -> str:
    """Return the person's `sub` for a sector; of concurrent transactions, one creates it, and the others read it."""
    found = find(connection, sector, user_id)
    if found is None:
        insert_new(connection, _table, [{"sector": sector, "user_id": user_id, "subject": "pws_" + new_id()}])
        found = find(connection, sector, user_id)
        assert found is not None
    return found


def user_of(connection: sa.Connection, sector: str | None, subject: str) -> str | None:
    """Return the id of the account that the clients of a sector know by this `sub`."""
    found: str | None = connection.scalar(_USER, {"subject": subject, "sector": sector})
    return found


def sector_of(client: Client) -> str | None:
    """Return the host of `sector_identifier_uri` or of the redirect URIs (OpenID Connect Core section 8.1).

    A client whose URI is not http or https is its own sector. A client with public subjects has none.
    """
    if client.subject_type != "pairwise":
        return None
    parts = urlsplit(client.sector_identifier_uri or client.redirect_uris[0])
    host = parts.hostname if parts.scheme in {"http", "https"} else None
    return host or f"client {client.client_id}"
