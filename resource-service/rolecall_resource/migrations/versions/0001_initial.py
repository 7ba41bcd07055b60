"""Create the tables for invoices and profiles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "invoice",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("owner_sub", sa.String(64), nullable=False),
        sa.Column("number", sa.String(40), nullable=False),
        sa.Column("supplier", sa.String(100), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("issued_on", sa.String(10), nullable=False),
        sa.Column("due_on", sa.String(10), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("paid_at", sa.Double),
    )
    op.create_index("ix_invoice_owner", "invoice", ["owner_sub", "issued_on"])
    op.create_table(
        "profile",
        sa.Column("owner_sub", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("email", sa.String(200)),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("profile")
    op.drop_table("invoice")
