"""Protected resources: audiences of tokens (RFC 8707 section 2), callers of introspection (RFC 7662 section 2)."""

from __future__ import annotations

import hmac

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rolecall.storage import digest
from rolecall.vocabulary import ACCESS_TOKEN_TYPE, SIGNING_ALGORITHMS
from rolecall_auth.models import Model


class Resource(Model):
    """A protected resource. `scopes` maps each scope to its description on the consent page.

    `access_token_signing_alg` and `access_token_typ` are header parameters of its access tokens (RFC 9068 section 2.1).
    `access_token_lifetime` is in seconds; None for the lifetime of the setting.
    """

    __tablename__ = "resource"

    identifier: Mapped[str] = mapped_column(sa.String(500), primary_key=True)
    resource_id: Mapped[str] = mapped_column(sa.String(100), unique=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    secret_hash: Mapped[str] = mapped_column(sa.String(64))
    scopes: Mapped[dict[str, str]] = mapped_column(sa.JSON)
    access_token_signing_alg: Mapped[str] = mapped_column(
        sa.String(20), default=SIGNING_ALGORITHMS[0], server_default=SIGNING_ALGORITHMS[0]
    )
    access_token_lifetime: Mapped[int | None] = mapped_column(sa.Integer)
    access_token_typ: Mapped[str] = mapped_column(
        sa.String(10), default=ACCESS_TOKEN_TYPE, server_default=ACCESS_TOKEN_TYPE
    )

    def check_secret(self, secret: str) -> bool:
        """Compare a secret with the stored hash in constant time."""
        return hmac.compare_digest(self.secret_hash, digest(secret))
