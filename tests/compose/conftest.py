"""`make test-compose` runs these tests against the containers that `make up` started; elsewhere they are skipped."""

from __future__ import annotations

import pytest

import containers as in_docker


@pytest.fixture(scope="session")
def containers() -> in_docker.Containers:
    """Where the containers are reached from outside."""
    return in_docker.stack()
