"""Subject identifiers: public, or pairwise per sector (OpenID Connect Core section 8)."""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

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


def subject_for(session: Session, sector: str | None, user_id: str) -> str:
    """Return the person's `sub` for a sector; it is created in the caller's transaction if needed.

    Args:
        sector: None for the public subject.

    Raises:
        sqlalchemy.exc.IntegrityError: another transaction has just created it; retry.
    """
    if sector is None:
        return user_id
    pairwise = session.get(PairwiseSubject, (sector, user_id))
    if pairwise is None:
        pairwise = PairwiseSubject(sector=sector, user_id=user_id)
        session.add(pairwise)
        session.flush()
    return pairwise.subject


def sector_of(client: Client) -> str | None:
    """Return the host of `sector_identifier_uri` or of the redirect URIs (OpenID Connect Core section 8.1).

    A client whose URI is not http or https is its own sector. A client with public subjects has none.
    """
    if client.subject_type != "pairwise":
        return None
    parts = urlsplit(client.sector_identifier_uri or client.redirect_uris[0])
    host = parts.hostname if parts.scheme in {"http", "https"} else None
    return host or f"client {client.client_id}"
