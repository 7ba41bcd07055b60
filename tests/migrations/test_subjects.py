"""Clients of earlier releases get a subject, and a downgrade removes authorizations without a person."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from rolecall.sql import Database
from rolecall_auth.models import new_id
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from support.migrations.frozen import MIGRATIONS, Release, rows
from support.migrations.released import released_database

pytestmark = pytest.mark.database


@pytest.fixture
def migrated(release: Release, tmp_path: Path, opened: list[Database]) -> Database:
    database = Database(released_database(release, "auth", tmp_path), MIGRATIONS["auth"])
    opened.append(database)
    database.upgrade()
    return database


def test_each_client_gets_a_subject(migrated: Database) -> None:
    """RFC 9068 section 2.2, RFC 9700 section 4.15."""
    with Session(migrated.engine) as session:
        clients = session.scalars(sa.select(Client)).all()
        authorizations = session.scalars(sa.select(Authorization)).all()
    subjects = {client.subject for client in clients}
    assert len(subjects) == len(clients) > 1
    assert all(subject.startswith("svc_") for subject in subjects)
    assert {authorization.approved for authorization in authorizations} == {None}


def test_a_downgrade_keeps_what_belongs_to_people(migrated: Database) -> None:
    before = len(rows(migrated.engine)["authorization_grant"])
    with migrated.transaction() as session:
        client_id = session.scalars(sa.select(Client.client_id)).first()
        session.add(
            Authorization(id=new_id(), client_id=client_id, resource="http://api.test", scope="x", standing_key="x")
        )
    migrated.downgrade("0003")
    assert len(rows(migrated.engine)["authorization_grant"]) == before
    migrated.upgrade()
    migrated.require_head()
