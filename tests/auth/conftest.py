"""An authorization server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from auth_support import Server, make_server, make_settings, opened


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Whatever servers a test made hold no connections afterwards."""
    yield
    while opened:
        state = opened.pop()
        state.database.engine.dispose()
        state.store.client.close()


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Server:
    """With people, clients and resources of its own."""
    return make_server(make_settings(tmp_path, redis_url))
