"""Scopes for claims about a person that no specification defines, such as groups and roles."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rolecall_auth.models import Model


class ClaimScope(Model):
    """A scope value that releases claims. `description` explains on the consent page what it allows."""

    __tablename__ = "claim_scope"

    scope: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    description: Mapped[str] = mapped_column(sa.String(300))
    claims: Mapped[list[str]] = mapped_column(sa.JSON)
