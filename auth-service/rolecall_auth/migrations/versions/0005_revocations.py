"""Add an index on ended authorizations, for the rebuild of the set of revoked tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the index."""
    ended = sa.text("ended_at IS NOT NULL")
    op.create_index(
        "ix_authorization_grant_token_lifetime",
        "authorization_grant",
        ["token_lifetime", "ended_at", "id"],
        sqlite_where=ended,
        postgresql_where=ended,
    )


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_authorization_grant_token_lifetime", "authorization_grant")
