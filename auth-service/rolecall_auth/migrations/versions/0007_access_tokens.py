"""Let each resource choose its access tokens, and each client its claims; add scopes for a person's own claims."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def _of_resource() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("access_token_signing_alg", sa.String(20), nullable=False, server_default="ES256"),
        sa.Column("access_token_lifetime", sa.Integer),
        sa.Column("access_token_typ", sa.String(10), nullable=False, server_default="at+jwt"),
    )


def _of_client() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("claims_in_id_token", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("token_endpoint_auth_methods", sa.JSON),
    )


def upgrade() -> None:
    """Add the columns and the table."""
    for column in _of_resource():
        op.add_column("resource", column)
    for column in _of_client():
        op.add_column("client", column)
    op.create_table(
        "claim_scope",
        sa.Column("scope", sa.String(100), primary_key=True),
        sa.Column("description", sa.String(300), nullable=False),
        sa.Column("claims", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Remove the columns and the table."""
    op.drop_table("claim_scope")
    for table_name, columns in (("client", _of_client()), ("resource", _of_resource())):
        with op.batch_alter_table(table_name) as table:
            for column in reversed(columns):
                table.drop_column(column.name)
