"""The Invoices API in this process, with three invoices of two owners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from databases import fresh_database
from resource_service import MIGRATIONS, create_app
from resource_service.models import Invoice, Profile
from resource_service.settings import Settings
from resource_support import API, ISSUER, Api, FakeServer
from rolecall.sql import Database


def _prepare(url: str) -> None:
    database = Database(url, MIGRATIONS)
    database.upgrade()
    database.engine.dispose()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    server = FakeServer()
    settings = Settings(
        issuer=ISSUER,
        public_url=API,
        resource_identifier=API,
        resource_id="invoices-api",
        resource_secret="a resource secret",
        database_url=fresh_database("api", tmp_path, _prepare),
        secret_key="a secret key of the tests, long enough",
        lab=True,
    )
    app = create_app(settings, http=server)  # type: ignore[arg-type]
    database = app.extensions["resource_database"]
    rows = [("i1", "alice", "2026-10-01"), ("i2", "alice", "2026-11-01"), ("i3", "bob", "2026-10-15")]
    with database.transaction() as session:
        session.add(Profile(owner_sub="alice", name="Alice Liddell", email=None))
        for invoice_id, owner, issued_on in rows:
            session.add(
                Invoice(
                    id=invoice_id,
                    owner_sub=owner,
                    number=invoice_id.upper(),
                    supplier="S",
                    description="D",
                    amount_minor=100,
                    currency="GBP",
                    issued_on=issued_on,
                    due_on="2026-12-01",
                    state="open",
                )
            )
    yield Api(app, server)
    database.engine.dispose()
