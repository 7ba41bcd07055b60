"""Who a person is for a client: the account's own identifier, or one a sector (OpenID Connect Core section 8)."""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall_auth.models import Model, new_id
from rolecall_auth.models.client import Client


class PairwiseSubject(Model):
    """A person's identifier for all clients of a sector: random, so that two sectors cannot compare theirs."""

    __tablename__ = "pairwise_subject"

    sector: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    subject: Mapped[str] = mapped_column(sa.String(64), unique=True, default=lambda: "pws_" + new_id())


def subject_for(session: Session, client: Client, user_id: str) -> str:
    """The `sub` that the client knows the person by; made at first need. The caller's transaction keeps it.

    Raises:
        sqlalchemy.exc.IntegrityError: somebody else makes it at this moment; try again.
    """
    if client.subject_type != "pairwise":
        return user_id
    sector = sector_of(client)
    found = session.get(PairwiseSubject, (sector, user_id))
    if found is None:
        found = PairwiseSubject(sector=sector, user_id=user_id)
        session.add(found)
        session.flush()
    return found.subject


def sector_of(client: Client) -> str:
    """The host of `sector_identifier_uri`, or of the redirect URIs (OpenID Connect Core section 8.1).

    A client that has neither is a sector of its own, whatever stands where a host would.
    """
    parts = urlsplit(client.sector_identifier_uri or client.redirect_uris[0])
    host = parts.hostname if parts.scheme in {"http", "https"} else None
    return host or f"client {client.client_id}"
