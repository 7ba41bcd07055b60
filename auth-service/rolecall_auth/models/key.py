"""Stored signing keys: the private key, encrypted under DATA_KEY, and the times of the three states."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rolecall import clock
from rolecall_auth.models import Model


class SigningKey(Model):
    """A key that is published at `created_at`, signs in [signs_from, signs_until), and verifies until `verifies_until`.

    `longest_token` is the longest lifetime, in seconds, of any token that it signed, even if the setting has changed.
    """

    __tablename__ = "signing_key"

    kid: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    algorithm: Mapped[str] = mapped_column(sa.String(20), index=True)
    private_sealed: Mapped[bytes] = mapped_column(sa.LargeBinary)
    public_jwk: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    created_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)
    signs_from: Mapped[float] = mapped_column(sa.Double)
    signs_until: Mapped[float | None] = mapped_column(sa.Double)
    verifies_until: Mapped[float | None] = mapped_column(sa.Double)
    longest_token: Mapped[int] = mapped_column(sa.Integer, server_default="86400")
