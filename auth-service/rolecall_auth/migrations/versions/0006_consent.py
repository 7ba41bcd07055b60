"""Store a remembered consent as one row per scope value, so that two tabs can add to it at the same time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_REFRESH = "without asking again"
_BATCH = 1000


def _columns() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("user_id", sa.String(64), sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("client_id", sa.String(100), sa.ForeignKey("client.client_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("resource", sa.String(500), primary_key=True),
    )


def upgrade() -> None:
    """Split the scopes. Existing consents include refreshing, because they did so far."""
    new = op.create_table(
        "consent_scope",
        *_columns(),
        sa.Column("scope", sa.String(1000), primary_key=True),
        sa.Column("given_at", sa.Double, nullable=False),
    )
    old = sa.table("consent", *(sa.column(name) for name in ("user_id", "client_id", "resource", "scope", "given_at")))
    connection = op.get_bind()
    for rows in connection.execute(sa.select(old)).mappings().partitions(_BATCH):
        values = [{**row, "scope": scope} for row in rows for scope in {*row["scope"].split(), _REFRESH}]
        connection.execute(sa.insert(new), values)
    op.drop_table("consent")


def downgrade() -> None:
    """Join the scopes."""
    old = op.create_table(
        "consent",
        *_columns(),
        sa.Column("scope", sa.String(1000), nullable=False),
        sa.Column("given_at", sa.Double, nullable=False),
    )
    key: list[sa.ColumnClause[str]] = [sa.column(name) for name in ("user_id", "client_id", "resource")]
    new = sa.table("consent_scope", *key, sa.column("scope"), sa.column("given_at"))
    joined: dict[tuple[str, ...], tuple[list[str], float]] = {}
    connection = op.get_bind()
    for *owner, scope, given_at in connection.execute(sa.select(new).order_by(*key, new.c.scope)):
        scopes, first = joined.get(tuple(owner), ([], given_at))
        joined[tuple(owner)] = ([*scopes, scope] if scope != _REFRESH else scopes, min(first, given_at))
    names = ("user_id", "client_id", "resource", "scope", "given_at")
    for key_values, (scopes, given_at) in joined.items():
        connection.execute(sa.insert(old), dict(zip(names, (*key_values, " ".join(scopes), given_at), strict=True)))
    op.drop_table("consent_scope")
