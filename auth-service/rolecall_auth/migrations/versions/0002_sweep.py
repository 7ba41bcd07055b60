"""An index for the sweep: authorizations by their last use."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add it."""
    op.create_index("ix_authorization_grant_used_at", "authorization_grant", ["used_at", "created_at"])


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_authorization_grant_used_at", "authorization_grant")
