"""Initial access tokens, each of which allows one client registration (RFC 7591 section 3)."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rolecall_auth.models import Model


class InitialAccessToken(Model):
    """The hash of a token, and the profile of the client that it registers."""

    __tablename__ = "initial_access_token"

    token_hash: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    profile: Mapped[str] = mapped_column(sa.String(20))
    expires_at: Mapped[float] = mapped_column(sa.Double, index=True)
