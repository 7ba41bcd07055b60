"""Fixtures of the Invoices API in this process, with three invoices of two owners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rolecall_resource.models import Profile
from support.invoices_api import Api, an_api, an_invoice


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    invoices = (an_invoice("i1", "alice", "2026-10-01"), an_invoice("i2"), an_invoice("i3", "bob", "2026-10-15"))
    with an_api(tmp_path, Profile(owner_sub="alice", name="Alice Liddell", email=None), *invoices) as made:
        yield made
