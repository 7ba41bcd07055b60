"""Tables: invoices with their payments, and profiles of their owners. Times are seconds since the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Model(DeclarativeBase):
    """The base class of this service's tables."""

    if TYPE_CHECKING:
        __table__: ClassVar[sa.Table]


class Invoice(Model):
    """An invoice. `amount_minor` is in the currency's minor unit, dates are ISO 8601, `state` is open or paid."""

    __tablename__ = "invoice"
    __table_args__ = (sa.Index("ix_invoice_owner", "owner_sub", "issued_on"),)

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    owner_sub: Mapped[str] = mapped_column(sa.String(64))
    number: Mapped[str] = mapped_column(sa.String(40))
    supplier: Mapped[str] = mapped_column(sa.String(100))
    description: Mapped[str] = mapped_column(sa.String(200))
    amount_minor: Mapped[int] = mapped_column(sa.BigInteger)
    currency: Mapped[str] = mapped_column(sa.String(3))
    issued_on: Mapped[str] = mapped_column(sa.String(10))
    due_on: Mapped[str] = mapped_column(sa.String(10))
    state: Mapped[str] = mapped_column(sa.String(10))
    paid_at: Mapped[float | None] = mapped_column(sa.Double)


class Profile(Model):
    """An owner of invoices."""

    __tablename__ = "profile"

    owner_sub: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    email: Mapped[str | None] = mapped_column(sa.String(200))
