"""Add client metadata, people's claims, and authentication requests for OpenID Connect."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _of_client() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("jwks", sa.JSON),
        sa.Column("jwks_uri", sa.String(2000)),
        sa.Column("secret_sealed", sa.LargeBinary),
        sa.Column("logo_uri", sa.String(2000)),
        sa.Column("policy_uri", sa.String(2000)),
        sa.Column("tos_uri", sa.String(2000)),
        sa.Column("subject_type", sa.String(10), nullable=False, server_default="public"),
        sa.Column("sector_identifier_uri", sa.String(2000)),
        sa.Column("id_token_signed_response_alg", sa.String(20), nullable=False, server_default="RS256"),
        sa.Column("userinfo_signed_response_alg", sa.String(20)),
        sa.Column("token_endpoint_auth_signing_alg", sa.String(20)),
        sa.Column("request_object_signing_alg", sa.String(20)),
        sa.Column("request_uris", sa.JSON),
        sa.Column("default_max_age", sa.Integer),
        sa.Column("require_auth_time", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("default_acr_values", sa.JSON),
        sa.Column("further_metadata", sa.JSON),
        sa.Column("registration_token_hash", sa.String(64)),
    )


def _of_authorization() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("requested_claims", sa.JSON),
        sa.Column("sid", sa.String(64)),
        sa.Column("acr", sa.String(100)),
    )


def upgrade() -> None:
    """Add the columns and tables, with defaults for existing rows."""
    # the lifetime that was set when these keys signed is unknown, so use the maximum, one day
    op.add_column("signing_key", sa.Column("longest_token", sa.Integer, nullable=False, server_default="86400"))
    for column in _of_client():
        op.add_column("client", column)
    for column in _of_authorization():
        op.add_column("authorization_grant", column)
    op.add_column("user_account", sa.Column("claims", sa.JSON))
    # no server defaults for JSON, because PostgreSQL cannot compare JSON values to detect a changed default
    op.execute("UPDATE client SET request_uris = '[]', default_acr_values = '[]', further_metadata = '{}'")
    op.execute("UPDATE user_account SET claims = '{}'")
    op.create_table(
        "pairwise_subject",
        sa.Column("sector", sa.String(255), primary_key=True),
        sa.Column(
            "user_id", sa.String(64), sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True, index=True
        ),
        sa.Column("subject", sa.String(64), nullable=False, unique=True),
    )
    op.create_table(
        "client_logo",
        sa.Column("client_id", sa.String(100), sa.ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("media_type", sa.String(20), nullable=False),
        sa.Column("image", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "initial_access_token",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("profile", sa.String(20), nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False, index=True),
    )


def downgrade() -> None:
    """Remove the columns and tables."""
    op.drop_table("initial_access_token")
    op.drop_table("client_logo")
    op.drop_table("pairwise_subject")
    with op.batch_alter_table("signing_key") as table:
        table.drop_column("longest_token")
    with op.batch_alter_table("user_account") as table:
        table.drop_column("claims")
    with op.batch_alter_table("authorization_grant") as table:
        for column in reversed(_of_authorization()):
            table.drop_column(column.name)
    with op.batch_alter_table("client") as table:
        for column in reversed(_of_client()):
            table.drop_column(column.name)
