"""The contract tests look at the three services of their own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from auth.conftest import closed, server
from client.conftest import tally
from databases import fresh_database
from resource_service import MIGRATIONS, create_app
from resource_service.models import Invoice, Profile
from resource_service.settings import Settings
from resource_support import API, ISSUER, Api, FakeServer
from rolecall.sql import Database

__all__ = ["closed", "server", "tally"]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """The Invoices API with an invoice of Alice's."""
    server = FakeServer()
    app = create_app(
        Settings(
            issuer=ISSUER,
            public_url=API,
            resource_identifier=API,
            resource_id="invoices-api",
            resource_secret="a resource secret",
            database_url=fresh_database("api", tmp_path, _prepare),
            secret_key="a secret key of the tests, long enough",
            lab=True,
        ),
        http=server,  # type: ignore[arg-type]
    )
    values = {"supplier": "S", "description": "D", "currency": "GBP", "issued_on": "2026-11-01", "due_on": "2026-12-01"}
    with app.extensions["resource_database"].transaction() as session:
        session.add(Profile(owner_sub="alice", name="Alice Liddell", email=None))
        session.add(Invoice(id="i1", owner_sub="alice", number="I1", amount_minor=100, state="open", **values))
    yield Api(app, server)
    app.extensions["resource_database"].engine.dispose()


def _prepare(url: str) -> None:
    database = Database(url, MIGRATIONS)
    database.upgrade()
    database.engine.dispose()
