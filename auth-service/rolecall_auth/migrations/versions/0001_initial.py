"""Create the tables for people, clients, resources, consents, authorizations, tokens, and signing keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _create_registrations()
    _create_authorizations()
    _create_keys()


def _create_registrations() -> None:
    op.create_table(
        "user_account",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("username", sa.String(64), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("disabled_at", sa.Double),
    )
    op.create_table(
        "client",
        sa.Column("client_id", sa.String(100), primary_key=True),
        sa.Column("client_name", sa.String(100), nullable=False),
        sa.Column("client_uri", sa.String(2000)),
        sa.Column("description", sa.String(300)),
        sa.Column("profile", sa.String(20), nullable=False),
        sa.Column("application_type", sa.String(10), nullable=False),
        sa.Column("token_endpoint_auth_method", sa.String(40), nullable=False),
        sa.Column("secret_hash", sa.String(64)),
        sa.Column("redirect_uris", sa.JSON, nullable=False),
        sa.Column("grant_types", sa.JSON, nullable=False),
        sa.Column("response_types", sa.JSON, nullable=False),
        sa.Column("scope", sa.String(1000), nullable=False),
        sa.Column("refresh_grace", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("disabled_at", sa.Double),
    )
    op.create_table(
        "resource",
        sa.Column("identifier", sa.String(500), primary_key=True),
        sa.Column("resource_id", sa.String(100), nullable=False, unique=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
    )


def _create_authorizations() -> None:
    op.create_table(
        "consent",
        sa.Column("user_id", sa.String(64), sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("client_id", sa.String(100), sa.ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("resource", sa.String(500), primary_key=True),
        sa.Column("scope", sa.String(1000), nullable=False),
        sa.Column("given_at", sa.Double, nullable=False),
    )
    op.create_table(
        "authorization_grant",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column(
            "user_id",
            sa.String(64),
            sa.ForeignKey("user_account.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column(
            "client_id",
            sa.String(100),
            sa.ForeignKey("client.client_id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("resource", sa.String(500), nullable=False),
        sa.Column("scope", sa.String(1000), nullable=False),
        sa.Column("auth_time", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
        sa.Column("ended_at", sa.Double, index=True),
        sa.Column("end_reason", sa.String(40)),
    )
    op.create_table(
        "refresh_token",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column(
            "authorization_id",
            sa.String(64),
            sa.ForeignKey("authorization_grant.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("expires_at", sa.Double, nullable=False, index=True),
        sa.Column("family_expires_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
        sa.Column("successor_hash", sa.String(64)),
        sa.Column("successor_sealed", sa.LargeBinary),
    )


def _create_keys() -> None:
    op.create_table(
        "revocation",
        sa.Column("token_id", sa.String(64), primary_key=True),
        sa.Column("authorization_id", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False, index=True),
    )
    op.create_table(
        "signing_key",
        sa.Column("kid", sa.String(64), primary_key=True),
        sa.Column("algorithm", sa.String(20), nullable=False, index=True),
        sa.Column("private_sealed", sa.LargeBinary, nullable=False),
        sa.Column("public_jwk", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("signs_from", sa.Double, nullable=False),
        sa.Column("signs_until", sa.Double),
        sa.Column("verifies_until", sa.Double),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "signing_key",
        "revocation",
        "refresh_token",
        "authorization_grant",
        "consent",
        "resource",
        "client",
        "user_account",
    ):
        op.drop_table(table)
