"""Let an authorization belong to a client without a person, and record what was approved."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def _of_authorization() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("resources", sa.JSON),
        sa.Column("approved", sa.JSON),
        sa.Column("token_format", sa.String(20)),
        sa.Column("token_lifetime", sa.Integer),
        sa.Column("standing_key", sa.String(64)),
    )


def upgrade() -> None:
    """Add the columns, and a random subject for each existing client."""
    with op.batch_alter_table("authorization_grant") as table:
        table.alter_column("user_id", existing_type=sa.String(64), nullable=True)
        table.alter_column("auth_time", existing_type=sa.Double(), nullable=True)
        for column in _of_authorization():
            table.add_column(column)
    op.create_index("ix_authorization_grant_standing_key", "authorization_grant", ["standing_key"], unique=True)
    op.add_column("client", sa.Column("subject", sa.String(64)))
    client = sa.table("client", sa.column("client_id", sa.String), sa.column("subject", sa.String))
    connection = op.get_bind()
    for client_id in connection.scalars(sa.select(client.c.client_id)).all():
        subject = f"svc_{secrets.token_urlsafe(16)}"
        connection.execute(sa.update(client).where(client.c.client_id == client_id).values(subject=subject))
    with op.batch_alter_table("client") as table:
        table.alter_column("subject", existing_type=sa.String(64), nullable=False)
    op.create_index("ix_client_subject", "client", ["subject"], unique=True)


def downgrade() -> None:
    """Delete the authorizations without a person, and remove the columns."""
    op.drop_index("ix_client_subject", "client")
    with op.batch_alter_table("client") as table:
        table.drop_column("subject")
    op.execute("DELETE FROM authorization_grant WHERE user_id IS NULL")
    op.drop_index("ix_authorization_grant_standing_key", "authorization_grant")
    with op.batch_alter_table("authorization_grant") as table:
        for column in reversed(_of_authorization()):
            table.drop_column(column.name)
        table.alter_column("auth_time", existing_type=sa.Double(), nullable=False)
        table.alter_column("user_id", existing_type=sa.String(64), nullable=False)
