"""The Alembic environment; `rolecall.sql.Database` provides the connection and manages the transaction."""

from __future__ import annotations

from alembic import context

from rolecall_auth.models import (
    Model,
    authorization,
    claim_scope,
    client,
    consent,
    initial_access_token,
    key,
    logo,
    resource,
    revocation,
    subject,
    token,
    user,
)

assert all(
    (
        authorization,
        claim_scope,
        client,
        consent,
        initial_access_token,
        key,
        logo,
        resource,
        revocation,
        subject,
        token,
        user,
    )
)

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Model.metadata, render_as_batch=True)
context.run_migrations()
