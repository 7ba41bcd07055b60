"""Add an index on the last use of authorizations, for the sweep."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_authorization_grant_used_at", "authorization_grant", ["used_at", "created_at"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_authorization_grant_used_at", "authorization_grant")
