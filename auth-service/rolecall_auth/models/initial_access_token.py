"""Tokens that allow to register a client (RFC 7591 section 3): by their hash, each for one registration."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rolecall_auth.models import Model


class InitialAccessToken(Model):
    """Who shows one registers one client, of this profile."""

    __tablename__ = "initial_access_token"

    token_hash: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    profile: Mapped[str] = mapped_column(sa.String(20))
    expires_at: Mapped[float] = mapped_column(sa.Double, index=True)
