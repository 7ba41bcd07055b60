"""Fetched logos of clients."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rolecall_auth.models import Model


class Logo(Model):
    """An image of at most 64 KB, and its media type."""

    __tablename__ = "client_logo"

    client_id: Mapped[str] = mapped_column(sa.ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True)
    media_type: Mapped[str] = mapped_column(sa.String(20))
    image: Mapped[bytes] = mapped_column(sa.LargeBinary)
